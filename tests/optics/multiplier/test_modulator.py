"""Codes of modulators: the field each index gives, with and without the panel's fringing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from labctl.optics.multiplier import modulator
from labctl.optics.multiplier.modulator import (
    DMD_LEVELS,
    SUBPIXELS,
    WEIGHT_LEVELS,
    InverseResponse,
    binary_carrier_tiles,
    blazed_field,
    blazed_response,
    blazed_tiles,
    blurred_edge,
    carrier_response,
    mirror_fraction_response,
    mirror_fraction_tiles,
)

ZERO, FULL, QUARTER = WEIGHT_LEVELS, 2 * WEIGHT_LEVELS, 2 * WEIGHT_LEVELS + 1
"""Indices of a blazed code: nothing, +1, and +i."""


def envelope(period: int) -> float:
    """Return what the aperture of a pixel leaves of the first order's field, summed over the samples of a pixel."""
    return math.sin(math.pi / period) / (SUBPIXELS * math.sin(math.pi / (SUBPIXELS * period)))


def signed_levels(levels: int) -> NDArray[np.float64]:
    return np.arange(-levels, levels + 1) / levels


def uniform_response(period: int, sigma_px: float, block_cols: int = 5, bit_depth: int = 8) -> NDArray[np.complex128]:
    """Return the field of every index of a block between two blocks of the same index."""
    own, pair, _ = blazed_response(blazed_tiles(2 * period, period, bit_depth), bit_depth, period, block_cols, sigma_px)
    return own + 2 * np.diag(pair)


def full_field(period: int, sigma_px: float, bit_depth: int = 8) -> float:
    """Return the field of the index for +1 between its like."""
    tile = blazed_tiles(2 * period, period, bit_depth)[FULL : FULL + 1]
    own, pair, _ = blazed_response(tile, bit_depth, period, 5, sigma_px)
    return abs(complex(own[0] + 2 * pair[0, 0]))


# ---- mirror fraction


@pytest.mark.parametrize("levels", [1, 2, 16, 100, DMD_LEVELS])
def test_index_k_of_a_mirror_fraction_lights_k_mirrors(levels: int):
    tiles = mirror_fraction_tiles(levels)
    assert tiles.shape == (levels + 1, levels, 1)
    assert tiles.dtype == np.uint8
    assert set(np.unique(tiles)) <= {0, 1}
    assert tiles.sum(axis=(1, 2)).tolist() == list(range(levels + 1))
    assert (mirror_fraction_response(tiles) == np.arange(levels + 1) / levels).all()


def test_lit_mirrors_are_spread_over_the_column():
    """Any window of the column is lit like the whole, so uneven light does not turn into a bent response."""
    tiles = mirror_fraction_tiles()[:, :, 0].astype(float)
    share = np.arange(DMD_LEVELS + 1) / DMD_LEVELS
    for window in np.array_split(np.arange(DMD_LEVELS), 5):
        assert np.abs(tiles[:, window].mean(axis=1) - share).max() < 0.1


# ---- binary carrier

CARRIERS = [(8, 1, 8), (64, 8, 8), (16, 3, 4), (48, 5, 12), (200, 40, 8)]


@pytest.mark.parametrize(("rows", "cols", "period"), CARRIERS)
def test_a_binary_carrier_gives_its_signed_level_and_a_quarter_period_gives_i(rows: int, cols: int, period: int):
    tiles = binary_carrier_tiles(rows, cols, period)
    levels = rows // period * cols
    assert tiles.shape == (2 * levels + 2, rows, cols)
    field = carrier_response(period)(tiles)
    np.testing.assert_allclose(field, [*signed_levels(levels), 1j], atol=1e-12)


@pytest.mark.parametrize(("rows", "cols", "period"), CARRIERS)
def test_the_sign_of_a_binary_carrier_is_a_half_period_shift(rows: int, cols: int, period: int):
    tiles = binary_carrier_tiles(rows, cols, period)
    levels = rows // period * cols
    negative, positive = tiles[:levels][::-1], tiles[levels + 1 : -1]
    np.testing.assert_array_equal(negative, np.roll(positive, period // 2, axis=1))
    assert not tiles[levels].any()


def test_the_full_carrier_is_the_textbook_square_wave():
    """First-order power 0.101 of a half-on carrier, less what its coarse rows lose: 1 / pi^2 for a fine one."""
    row = np.arange(1024)
    fine = binary_carrier_tiles(1024, 1, 1024)[2]
    order = (fine[:, 0] * np.exp(-2j * np.pi * row / 1024)).mean()
    assert abs(order) ** 2 == pytest.approx(1 / math.pi**2, rel=1e-4)


@pytest.mark.parametrize(("rows", "period"), [(20, 8), (9, 8), (4, 8), (18, 6), (10, 5), (12, 2)])
def test_rows_that_hold_no_whole_periods_or_quarters_are_refused(rows: int, period: int):
    with pytest.raises(ValueError, match="4 divides"):
        binary_carrier_tiles(rows, 3, period)
    with pytest.raises(ValueError, match="4 divides"):
        blazed_tiles(rows, period, 8)


# ---- blazed carrier


@pytest.mark.parametrize("period", [4, 8, 12, 16, 20])
def test_a_blazed_carrier_is_the_inverse_sinc_of_its_level_as_far_as_pixels_allow(period: int):
    field = blazed_field(np.repeat(blazed_tiles(2 * period, period, 16), 3, axis=2), 16, period)
    wanted = signed_levels(WEIGHT_LEVELS)
    # P pixels per period turn sinc(x) into sin(pi x) / (P sin(pi x / P)): 0.48 % of full scale at 8 pixels
    x = np.linspace(0, 1, 100_001)[1:]
    missing = np.interp(-np.abs(wanted), -np.sinc(x), x)
    sampled = np.sin(np.pi * missing) / (period * np.sin(np.pi * missing / period))
    np.testing.assert_allclose(field[: FULL + 1], np.sign(wanted) * sampled * envelope(period), atol=5e-5)
    bent = np.abs(field[: FULL + 1] / envelope(period) - wanted).max()
    assert bent < 0.32 / period**2
    if period >= 8:
        assert bent < 0.005


@pytest.mark.parametrize(("period", "missing"), [(4, 0.007), (8, 0.002), (12, 0.001), (16, 0.0005)])
def test_the_order_has_the_envelope_of_a_square_pixel(period: int, missing: float):
    """The first order of pixels is sinc(1 / period) weaker than that of a continuous phase."""
    tiles = blazed_tiles(2 * period, period, 16)
    full = abs(blazed_field(tiles, 16, period)[FULL])
    assert full == pytest.approx(np.sinc(1 / period), rel=missing)
    assert full == pytest.approx(envelope(period), rel=1e-6)
    flat = np.zeros((1, 2 * period, 3), np.uint16)
    assert abs(blazed_field(flat, 16, period)[0]) < 1e-15  # unmodulated light is not in the order


@pytest.mark.parametrize("period", [4, 8, 16])
@pytest.mark.parametrize("bit_depth", [8, 10, 16])
def test_blazed_levels_are_real_antisymmetric_and_the_last_index_is_i(period: int, bit_depth: int):
    field = blazed_field(blazed_tiles(2 * period, period, bit_depth), bit_depth, period)
    data = field[: FULL + 1]
    assert np.abs(np.imag(data)).max() < 1e-12
    np.testing.assert_allclose(data, -data[::-1], atol=1e-12)
    assert abs(field[ZERO]) < 1e-12
    assert field[FULL] == pytest.approx(envelope(period), rel=1e-3)
    assert field[QUARTER] == pytest.approx(1j * field[FULL], abs=1e-12)
    assert (np.diff(np.real(data)) >= 0).all()


def test_eight_bit_levels_cost_less_than_a_hundredth_of_full_scale():
    fine = blazed_field(blazed_tiles(16, 8, 16), 16, 8)
    coarse = blazed_field(blazed_tiles(16, 8, 8), 8, 8)
    assert np.abs(fine - coarse).max() < 0.01


@pytest.mark.parametrize("bit_depth", [1, 8, 12, 16])
def test_blazed_tiles_stay_within_the_panel(bit_depth: int):
    tiles = blazed_tiles(16, 8, bit_depth)
    assert tiles.shape == (2 * WEIGHT_LEVELS + 2, 16, 1)
    assert int(tiles.max()) < 2**bit_depth


# ---- fringing


@pytest.mark.parametrize("sigma_px", [0.15, 0.4, 0.6, 1.0])
def test_a_border_is_a_step_blurred_by_a_gaussian(sigma_px: float):
    distance = np.linspace(-3, 3, 61)
    x = np.linspace(-10, 10, 200_001)
    density = np.exp(-(x**2) / (2 * sigma_px**2))
    beyond = np.interp(distance, x, 1 - np.cumsum(density) / density.sum())
    share = blurred_edge(distance, sigma_px)
    np.testing.assert_allclose(share, beyond, atol=2e-4)
    np.testing.assert_allclose(share + share[::-1], 1, atol=1e-12)  # what one side lends, the other borrows
    assert share[30] == pytest.approx(0.5, abs=1e-12)


def test_without_blur_nothing_crosses_a_border():
    assert blurred_edge(np.array([0.125, 1.0]), 0.0).tolist() == [0, 0]


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("block_cols", [4, 5, 30])
def test_without_fringing_neighbours_do_not_matter(block_cols: int, bit_depth: int):
    tiles = blazed_tiles(16, 8, bit_depth)
    own, pair, _ = blazed_response(tiles, bit_depth, 8, block_cols, 0.0)
    alone = blazed_field(tiles, bit_depth, 8)
    beside_any = np.broadcast_to(alone[:, None], pair.shape)
    np.testing.assert_allclose(own[:, None] + pair + pair[:, :1], beside_any, atol=1e-12)


@pytest.mark.parametrize("period", [8, 16])
@pytest.mark.parametrize("sigma_px", [0.4, 0.6, 0.8])
def test_fringing_keeps_levels_real_antisymmetric_and_a_quarter_period_i(period: int, sigma_px: float):
    field = uniform_response(period, sigma_px)
    np.testing.assert_allclose(field[: FULL + 1], -field[: FULL + 1][::-1], atol=1e-12)
    assert np.abs(field[: FULL + 1].imag).max() < 1e-12
    assert field[QUARTER] == pytest.approx(1j * field[FULL], abs=1e-12)


def continuous_efficiency(period: float, sigma_px: float, per_pixel: int = 64) -> float:
    """Return the first-order power of a full sawtooth of square pixels whose phase is blurred continuously."""
    x = (np.arange(round(2 * period * per_pixel)) + 0.5) / per_pixel
    phase = 2 * np.pi * (((np.floor(x) + 0.5) / period) % 1)
    if sigma_px:
        frequency = np.fft.fftfreq(len(x), 1 / per_pixel)
        blur = np.exp(-2 * (np.pi * frequency * sigma_px) ** 2)
        phase = np.fft.ifft(np.fft.fft(phase) * blur).real
    return float(abs(np.exp(1j * (phase - 2 * np.pi * x / period)).mean()) ** 2)


@pytest.mark.parametrize(
    ("period", "published"), [(19 / 3, (0.92, 0.59, 0.40)), (9.5, (0.96, 0.72, 0.57)), (4.75, (0.86, 0.48, 0.26))]
)
def test_the_continuous_panel_is_the_tabulated_one(period: float, published: tuple[float, ...]):
    efficiencies = [continuous_efficiency(period, sigma_px) for sigma_px in (0.0, 0.5, 0.8)]
    assert efficiencies == pytest.approx(published, abs=0.012)


@pytest.mark.parametrize("period", [8, 12, 16])
@pytest.mark.parametrize("sigma_px", [0.0, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0])
def test_fringing_costs_what_a_continuous_panel_loses(period: int, sigma_px: float):
    field = full_field(period, sigma_px, bit_depth=12)
    assert field == pytest.approx(math.sqrt(continuous_efficiency(period, sigma_px)), abs=0.004)


@pytest.mark.parametrize("period", [4, 8, 16])
def test_more_fringing_always_costs_light_and_a_longer_carrier_always_saves_some(period: int):
    def efficiencies(period: int) -> NDArray[np.float64]:
        return np.array([full_field(period, sigma_px) ** 2 for sigma_px in (0.0, 0.3, 0.4, 0.6, 0.8, 1.0)])

    assert (np.diff(efficiencies(period)) < 0).all()
    assert (efficiencies(2 * period) > efficiencies(period)).all()


@pytest.mark.parametrize(("sigma_px", "efficiency"), [(0.0, 0.95), (0.5, 0.67), (0.6, 0.61), (0.8, 0.50)])
def test_the_bench_panel_keeps_the_efficiency_its_power_budget_counts_on(sigma_px: float, efficiency: float):
    """4K panel, period 8: the budget counts 0.62 at 0.6 px of fringing for 8 to 9.5 px."""
    assert full_field(8, sigma_px) ** 2 == pytest.approx(efficiency, abs=0.005)


def blurred_pixels(edges: int, per_pixel: int, sigma_px: float) -> NDArray[np.float64]:
    """Return the share of each pixel's phase at every sample of a row of pixels: (samples, pixels), periodic."""
    around = 8  # pixels that repeat beyond each end
    x = torch.arange(edges * per_pixel, dtype=torch.float64).add(0.5)[:, None] / per_pixel
    edge = torch.arange(-around, edges + around + 1)[None, :]
    passed = torch.special.ndtr((x - edge) / sigma_px) if sigma_px else (x > edge).double()
    share = passed[:, :-1] - passed[:, 1:]
    periodic = torch.zeros(len(x), edges, dtype=torch.float64)
    periodic.index_add_(1, torch.arange(-around, edges + around) % edges, share)
    return periodic.numpy()


def row_of_blocks(
    tiles: NDArray[np.uint16], block_cols: int, sigma_px: float, per_pixel: int = 32
) -> NDArray[np.complex128]:
    """Return the first-order field of each of a row of blocks at 8 bit and a period of 8, from the blurred panel.

    Every square pixel of the row is blurred on its own, both ways and exactly, and sampled finely.
    """
    pixels = np.repeat(tiles[:, :, 0].T, block_cols, axis=1) * (2 * np.pi / 2**8)
    down, across = (blurred_pixels(count, per_pixel, sigma_px) for count in pixels.shape)
    light = np.exp(1j * (down @ pixels @ across.T))
    place = (np.arange(len(light)) + 0.5) / per_pixel
    order = np.exp(-2j * np.pi * place / 8) @ light / len(light)
    return order.reshape(len(tiles), -1).mean(axis=1)


def modelled_row(tiles: NDArray[np.uint16], block_cols: int, sigma_px: float) -> NDArray[np.complex128]:
    """Return the same fields as those of each block on its own and of its pairs with both neighbours."""
    own, pair, _ = blazed_response(tiles, 8, 8, block_cols, sigma_px)
    block = np.arange(len(tiles))
    return own + pair[block, np.roll(block, 1)] + pair[block, np.roll(block, -1)]


@pytest.fixture(scope="module", params=[4, 5, 30])
def block_cols(request: pytest.FixtureRequest) -> int:
    return request.param


EXTREMES = [0, FULL, FULL, QUARTER, ZERO, 0, QUARTER]
ROW = blazed_tiles(16, 8, 8)[[*EXTREMES, *np.random.default_rng(0).integers(0, QUARTER + 1, 12)]]
"""A row of blocks: the strongest next to each other, and random ones."""


@pytest.mark.parametrize(
    ("sigma_px", "tolerance"),
    # what 4 samples per pixel leave out; a blur of 0.15 px is narrower than one of them
    [(0.0, 0.002), (0.15, 0.025), (0.3, 0.008), (0.4, 0.006), (0.5, 0.0045), (0.6, 0.0035), (0.8, 0.003), (1.0, 0.005)],
)
def test_own_and_pair_fields_add_up_to_the_blurred_panel(block_cols: int, sigma_px: float, tolerance: float):
    light = row_of_blocks(ROW, block_cols, sigma_px)
    assert np.abs(light).max() > 0.5
    np.testing.assert_allclose(modelled_row(ROW, block_cols, sigma_px), light, atol=tolerance)


@pytest.mark.parametrize(
    ("sigma_px", "beyond_two_pixels"), [(0.0, 0), (0.15, 0), (0.4, 0), (0.6, 2e-5), (0.8, 6e-4), (1.0, 3.2e-3)]
)
def test_more_samples_leave_only_the_light_beyond_two_pixels(
    monkeypatch: pytest.MonkeyPatch, block_cols: int, sigma_px: float, beyond_two_pixels: float
):
    """Pairs reach two pixels over a border; nothing but that and the sampling sets their fields apart."""
    monkeypatch.setattr(modulator, "SUBPIXELS", 32)
    light = row_of_blocks(ROW, block_cols, sigma_px)
    np.testing.assert_allclose(modelled_row(ROW, block_cols, sigma_px), light, atol=beyond_two_pixels + 1e-4)


@pytest.mark.parametrize(("sigma_px", "published"), [(0.4, 0.92), (0.6, 0.88), (0.8, 0.84)])
def test_neighbours_of_opposite_sign_weaken_a_weight_about_as_tabulated(sigma_px: float, published: float):
    own, pair, _ = blazed_response(blazed_tiles(16, 8, 8)[[0, FULL]], 8, 8, 5, sigma_px)
    among_equals = own[1] + 2 * pair[1, 1]
    among_opposites = own[1] + 2 * pair[1, 0]
    assert abs(among_opposites / among_equals) == pytest.approx(published, abs=0.035)


# ---- inverse response


@settings(deadline=None)
@given(
    response=hnp.arrays(np.float64, st.integers(2, 60), elements=st.integers(-1000, 1000).map(lambda k: k / 1000)),
    wanted=hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-3, 3)),
)
def test_the_inverse_response_finds_the_nearest_field(response: NDArray[np.float64], wanted: NDArray[np.float64]):
    reach = float(np.ptp(response))
    if reach == 0:
        return
    chosen = InverseResponse(response)(wanted)
    assert chosen.dtype == np.uint16
    best = np.abs(response - wanted[:, None]).min(axis=1)
    step = reach / (InverseResponse.GRID - 1)
    assert (np.abs(response[chosen] - wanted) <= best + 1.001 * step).all()


@pytest.mark.parametrize("sigma_px", [0.0, 0.6])
def test_what_a_panel_can_show_is_found_again(sigma_px: float):
    data = uniform_response(8, sigma_px)[: FULL + 1].real
    inverse = InverseResponse(data)
    np.testing.assert_allclose(data[inverse(data)], data, atol=2e-4)
    assert inverse(np.array([[-9.0, 9.0]])).shape == (1, 2)
    np.testing.assert_allclose(data[inverse(np.array([-9.0, 0.0, 9.0]))], [data.min(), 0.0, data.max()], atol=1e-12)
