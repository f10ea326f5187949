"""Every term of a noise set has a kind and a source, and a bench is never quieter without one."""

import pytest

from labctl.errors import ConfigError
from sim_backends.noise import NoiseSet, load_noise_set
from tests.sim_backends.noise_terms import SHIPPED

NOISES = [name for name in NoiseSet.model_fields if getattr(SHIPPED, name).kind == "noise"]
IMPERFECTIONS = [name for name in NoiseSet.model_fields if getattr(SHIPPED, name).kind == "imperfection"]


def test_every_shipped_term_has_a_kind_and_a_source():
    assert set(NOISES) | set(IMPERFECTIONS) == set(NoiseSet.model_fields)
    for name in NoiseSet.model_fields:
        assert getattr(SHIPPED, name).source.strip()


def test_scales_reach_their_kind_only():
    for noise, imperfection in ((0, 1), (2, 0), (3, 0.5)):
        scaled = SHIPPED.scaled(noise, imperfection)
        for name in NOISES:
            assert scaled[name] == noise * getattr(SHIPPED, name).value
        for name in IMPERFECTIONS:
            assert scaled[name] == imperfection * getattr(SHIPPED, name).value


BAD_CHANGES = {
    "an unknown term": ("flickr", {"value": "0.1 rad"}, "flickr.*'flicker'"),
    "no unit": ("flicker", {"value": 0.1}, "flicker.*with its unit"),
    "another unit": ("slit_drift", {"value": "1 rad"}, "slit_drift.*with its unit"),
    "below zero": ("speckle", {"value": -0.1}, "speckle"),
    "an unknown key": ("speckle", {"valeu": 0.1}, "valeu.*'value'"),
    "another kind": ("speckle", {"kind": "noise"}, "speckle.*kind of a term is fixed"),
    "quieter without a source": ("flicker", {"value": "0.01 rad"}, "flicker.*quieter.*source"),
    "silent without a source": ("speckle", {"value": 0}, "speckle.*quieter.*source"),
}


@pytest.mark.parametrize("case", BAD_CHANGES)
def test_a_change_that_means_nothing_or_hides_noise_is_refused(case: str):
    name, change, message = BAD_CHANGES[case]
    with pytest.raises(ConfigError, match=message):
        load_noise_set("reference", {name: change})


def test_noisier_needs_no_source_and_quieter_does():
    assert load_noise_set("reference", {"flicker": {"value": "0.1 rad"}}).flicker.value == pytest.approx(0.1)
    quieter = load_noise_set("reference", {"flicker": {"value": "0.01 rad", "source": "measured"}})
    assert (quieter.flicker.value, quieter.flicker.source) == (pytest.approx(0.01), "measured")
    assert quieter.speckle == SHIPPED.speckle
    assert load_noise_set("reference", {}) == SHIPPED
