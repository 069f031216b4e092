"""Frames are cut out of the last picture: its rows as far as they are shown, paper for the rest."""

from __future__ import annotations

import numpy as np
from PIL import Image
from rowcast.pixels.palette import PAPER
from rowcast.pixels.time_lapse import revealed

SIDE, HIGH = 2, 3


def test_rows_come_into_sight_in_every_picture_at_once() -> None:
    whole = np.random.default_rng(0).integers(0, 200, (2 * HIGH * SIDE, 8, 3), dtype=np.uint8)
    frames = [np.asarray(each) for each in revealed(Image.fromarray(whole), HIGH, SIDE, HIGH)]
    assert len(frames) == HIGH
    for held, frame in enumerate(frames, 1):
        for picture in (slice(0, HIGH * SIDE), slice(HIGH * SIDE, None)):
            shown, truth = frame[picture], whole[picture]
            assert np.array_equal(shown[: held * SIDE], truth[: held * SIDE])
            assert (shown[held * SIDE :] == PAPER).all()
    assert np.array_equal(frames[-1], whole)


def test_a_picture_without_rows_has_no_frames() -> None:
    assert list(revealed(Image.new("RGB", (8, 6)), 0, SIDE, HIGH)) == []
