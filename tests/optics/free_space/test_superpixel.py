import numpy as np
import torch

from labctl.optics.free_space.superpixel import (
    superpixel_fields,
    superpixel_indices,
    superpixel_response,
    superpixel_tiles,
)


def _disc(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.sqrt(rng.uniform(0, 1, n)) * np.exp(2j * np.pi * rng.uniform(0, 1, n))


def test_there_are_6561_fields_and_the_first_is_dark():
    tiles = superpixel_tiles()
    assert tiles.shape == (6561, 4, 4)
    assert not tiles[0].any()
    assert len(np.unique(np.round(superpixel_response(tiles), 9))) == 6561


def test_a_field_is_written_within_two_hundredths_of_full_amplitude():
    wanted = _disc(5000)
    error = np.abs(superpixel_fields(superpixel_indices(wanted)).numpy() - wanted)
    assert np.sqrt(np.mean(error**2)) < 0.02
    assert error.max() < 0.06


def test_dark_is_dark_and_what_is_too_bright_keeps_its_phase():
    assert superpixel_fields(superpixel_indices(np.zeros(3, complex))).abs().max() < 0.02
    bright = superpixel_fields(superpixel_indices(np.array([3j]))).numpy()
    np.testing.assert_allclose(bright, [1j], atol=0.06)


def test_a_field_is_the_mean_of_the_mirrors_phasors():
    tiles = superpixel_tiles()[[5, 700, 6560]]
    phasor = np.exp(2j * np.pi * np.arange(16) / 16).reshape(4, 4)
    np.testing.assert_allclose(superpixel_response(tiles), (tiles * phasor).sum(axis=(1, 2)) / 4.5, atol=1e-12)
    assert superpixel_fields(np.array([0, 1])).dtype == torch.complex64
