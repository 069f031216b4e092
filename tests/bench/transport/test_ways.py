"""Ways of showing a picture, as data: what is sent when, and that it can be encoded."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast_bench.transport.plots import SHORT
from rowcast_bench.transport.ways import ALL, SETTINGS, Way, decoded, encoded, usable_ways

PIXELS = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)


def test_each_way_has_a_name_of_its_own_and_one_in_the_plots() -> None:
    assert len({way.name for way in ALL}) == len(ALL)
    assert SHORT.keys() == {way.name for way in ALL}
    assert {way.protocol for way in ALL} == {"tokens", "websocket", "sse", "poll"}


@pytest.mark.parametrize("way", ALL, ids=lambda way: way.name)
def test_frames_are_spread_evenly_and_the_last_shows_all_rows(way: Way) -> None:
    held = way.held(16)
    assert held[-1] == 16
    assert len(held) == (way.frames or 16)


@pytest.mark.parametrize("way", usable_ways(), ids=lambda way: way.name)
def test_what_is_encoded_is_a_picture_again(way: Way) -> None:
    assert way.format in SETTINGS
    pixels = decoded(encoded(PIXELS, way))
    assert pixels.shape == PIXELS.shape
    assert np.array_equal(pixels, PIXELS) == (way.format == "PNG")


def test_a_progressive_jpeg_says_so() -> None:
    plain, progressive = (Way("", "", "websocket", 1, progressive=each) for each in (False, True))
    assert b"\xff\xc0" in encoded(PIXELS, plain)
    assert b"\xff\xc2" in encoded(PIXELS, progressive)
