"""The palette: a table of pixels, checked byte by byte."""

from __future__ import annotations

import io
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rowcast.errors import DetokenizerError
from rowcast.messages import MAX_PALETTE_BYTES
from rowcast.pixels.detokenizer import Detokenizer
from rowcast.pixels.palette import PAPER, Palette
from rowcast_server.models.loading import load

from tests.support.tiny_model import tiny_palette

CODES, SIDE = 96, 4  # of the model: codes, pixels a token


def content_of(table: NDArray[np.generic], version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(table), version=version, allow_pickle=False)
    return file.getvalue()


def table_of(codes: int = CODES, side: int = 2) -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (codes, side, side, 3), np.uint8)


@pytest.fixture
def palette(tmp_path: Path) -> Palette:
    return Palette(tiny_palette(tmp_path / "palette.npy", CODES).read_bytes(), CODES, SIDE)


# Pixels


@pytest.mark.parametrize("side", [1, 2, 4])
def test_each_id_becomes_its_pixels_enlarged(side: int) -> None:
    table = table_of(side=side)
    ids = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    pixels = Palette(content_of(table), CODES, SIDE).decode(ids)
    assert pixels.shape == (2, 12, 20, 3)
    assert pixels.dtype == np.uint8
    for place in np.ndindex(ids.shape):
        picture, row, col = place
        square = pixels[picture, row * SIDE : (row + 1) * SIDE, col * SIDE : (col + 1) * SIDE]
        expected = table[ids[place]].repeat(SIDE // side, 0).repeat(SIDE // side, 1)
        assert np.array_equal(square, expected)


def test_what_is_not_drawn_yet_is_paper(palette: Palette) -> None:
    grid = np.arange(8).reshape(2, 4)
    canvas = palette.paint(grid, rows=5)
    assert np.array_equal(canvas[: 2 * SIDE], palette.decode(grid[None])[0])
    assert (canvas[2 * SIDE :] == PAPER).all()
    assert (palette.paint(grid[:0], rows=2) == PAPER).all()


@pytest.mark.parametrize("wrong", [CODES, 2**31, -1, -CODES])
def test_an_id_outside_the_codebook(palette: Palette, wrong: int) -> None:
    with pytest.raises(DetokenizerError, match="outside the codebook of 96"):
        palette.decode(np.array([[[0, wrong]]]))


def test_the_shipped_palette_looks_like_the_shipped_decoder() -> None:
    """In a plane of one code, where nothing of it can be seen, both show one colour."""
    model = load("postcard")
    (file,) = (file for file in model.files if file.kind == "palette")
    palette = Palette(file.path.read_bytes(), model.grid.codebook_size, model.pixels_per_token)
    rows = np.random.default_rng(0).integers(0, model.grid.codebook_size, (1, 16, 16))
    decoded = Detokenizer(model.detokenizer).decode(rows)[0].astype(float)
    apart = np.abs(palette.decode(rows)[0] - decoded).mean()
    swapped = np.abs(palette.decode(rows[:, ::-1])[0] - decoded).mean()
    assert apart < 0.75 * swapped


def test_sixteen_thousand_codes_of_4_x_4_pixels_fit() -> None:
    content = content_of(table_of(16_384, 4))
    assert len(content) <= 800_000
    assert Palette(content, 16_384, 16).table.shape == (16_384, 4, 4, 3)


# Files that are none


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x93NUMPY\x01\x00", id="a beginning"),
        pytest.param(b"PK\x03\x04" + bytes(200), id="zip"),
        pytest.param(pickle.dumps(table_of()), id="pickle"),
        pytest.param(content_of(table_of(), (2, 0)), id="another version"),
        pytest.param(content_of(table_of().astype(np.float32)), id="floats"),
        pytest.param(content_of(table_of()[..., :2].copy()), id="two colours"),
        pytest.param(content_of(table_of()[:, 0].copy()), id="three axes"),
        pytest.param(content_of(np.asfortranarray(table_of())), id="fortran"),
        pytest.param(content_of(table_of()).replace(b"|u1", b"|O "), id="objects"),
        pytest.param(content_of(table_of()).replace(b"(96, 2", b"(0, 2 "), id="no codes"),
        pytest.param(
            content_of(table_of()).replace(b"False", b"__import__('os')"), id="an expression"
        ),
    ],
)
def test_bytes_that_are_no_palette(content: bytes) -> None:
    with pytest.raises(DetokenizerError, match=r"^table\.npy is no palette, or is damaged"):
        Palette(content, CODES, SIDE, "table.npy")


@pytest.mark.parametrize("change", [-1, 1, -1_000])
def test_a_palette_of_another_length_than_it_says(change: int) -> None:
    content = content_of(table_of())
    content = content[:change] if change < 0 else content + b"x"
    with pytest.raises(DetokenizerError, match=r"table\.npy is damaged or cut short"):
        Palette(content, CODES, SIDE, "table.npy")


def test_a_palette_that_claims_to_be_huge_costs_nothing() -> None:
    content = content_of(table_of()).replace(
        b"(96, 2, 2, 3), }" + 7 * b" ", b"(999999999, 2, 2, 3), }"
    )
    with pytest.raises(DetokenizerError, match="cut short"):
        Palette(content, 999_999_999, SIDE)
    with pytest.raises(DetokenizerError, match="at most 1048576"):
        Palette(bytes(MAX_PALETTE_BYTES + 1), CODES, SIDE)


@pytest.mark.parametrize(("codes", "pixels"), [(95, 4), (97, 4), (96, 3), (96, 1)])
def test_a_palette_of_another_model(codes: int, pixels: int) -> None:
    with pytest.raises(DetokenizerError, match="it is another's"):
        Palette(content_of(table_of()), codes, pixels)


def test_damage_anywhere_raises_nothing_else() -> None:
    whole, chance, told = content_of(table_of()), random.Random(3), 0
    for _ in range(300):
        spot = chance.randrange(140)
        try:
            Palette(whole[:spot] + chance.randbytes(1) + whole[spot + 1 :], CODES, SIDE)
        except DetokenizerError:
            told += 1
    assert told > 200
