"""The taught palette: means over places, planes where there are none, painted as clients do."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rowcast.pixels.palette import Palette as ClientPalette
from rowcast_export.distill.palette_teaching import paint, teach_palette
from rowcast_export.palette import npy_bytes

CODES = 5
PLANE = np.full((CODES, 1, 1, 3), 200, np.uint8)


def pictures_of(looks: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Pictures in which each code looks as in ``looks`` [codes, side, side, 3]."""
    side = looks.shape[1]
    return np.stack([paint(looks, grid, side) for grid in ids])


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, CODES - 1, (40, 3, 7))  # the last code is not seen


@pytest.mark.parametrize(("side", "found"), [(1, 1), (2, 2), (4, 4), (8, 4), (16, 4)])
def test_a_code_is_the_mean_of_what_it_looked_like(ids: np.ndarray, side: int, found: int) -> None:
    generator = np.random.default_rng(1)
    looks = generator.integers(0, 256, (CODES, side, side, 3), dtype=np.uint8)
    palette = teach_palette(PLANE, ids, pictures_of(looks, ids))
    assert palette.shape == (CODES, found, found, 3)
    assert palette.dtype == np.uint8
    block = side // found
    means = looks.reshape(CODES, found, block, found, block, 3).mean(axis=(2, 4))
    places = np.bincount(ids.ravel(), minlength=CODES)[:, None, None, None]
    assert np.abs(palette - (means * places + 200) / (places + 1)).max() <= 0.5 + 1e-9
    assert (palette[-1] == 200).all()


def test_a_token_of_three_pixels_has_no_four(ids: np.ndarray) -> None:
    pictures = np.zeros((len(ids), 3, 9, 21), np.uint8)
    assert teach_palette(PLANE, ids, pictures).shape == (CODES, 1, 1, 3)


def test_it_is_painted_as_a_client_paints_it(ids: np.ndarray) -> None:
    palette = np.random.default_rng(2).integers(0, 256, (CODES, 4, 4, 3), dtype=np.uint8)
    client = ClientPalette(npy_bytes(palette), CODES, 8, "palette.npy")
    assert np.array_equal(paint(palette, ids[0], 8).transpose(1, 2, 0), client.decode(ids[:1])[0])
    assert np.array_equal(np.load(io.BytesIO(npy_bytes(palette))), palette)
