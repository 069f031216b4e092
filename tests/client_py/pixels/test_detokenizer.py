"""Ids to pixels, and what is said of a file that is not, or no longer, a detokenizer."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from rowcast.errors import DetokenizerError
from rowcast.pixels.detokenizer import (
    GUESSED_ROWS,
    MEMORY_BUDGET_BYTES,
    PAPER,
    Detokenizer,
)

from tests.support.tiny_model import PIXELS_PER_TOKEN, tiny_detokenizer

CODES = 96
SIDE = PIXELS_PER_TOKEN
COLOURS = np.random.default_rng(1).random((CODES, 3)).astype(np.float32)  # those of the file


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_detokenizer(tmp_path_factory.mktemp("detokenizer") / "tiny.onnx", CODES)


@pytest.fixture(scope="module")
def detokenizer(path: Path) -> Detokenizer:
    return Detokenizer(path)


def self_test(path: Path, **changes: Any) -> str:
    """The file's own self-test, changed."""
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return json.dumps(json.loads(entries["rowcast.self_test"]) | changes)


# Pixels


def test_each_id_becomes_its_square_of_pixels(detokenizer: Detokenizer) -> None:
    ids = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    pixels = detokenizer.decode(ids)
    assert pixels.shape == (2, 3 * SIDE, 5 * SIDE, 3)
    assert pixels.dtype == np.uint8
    expected = (COLOURS[ids] * 255).astype(np.uint8)
    assert np.array_equal(pixels, expected.repeat(SIDE, 1).repeat(SIDE, 2))


def test_what_is_not_drawn_yet_is_paper(detokenizer: Detokenizer) -> None:
    grid = np.arange(8).reshape(2, 4)
    canvas = detokenizer.paint(grid, rows=5)
    assert canvas.shape == (5 * SIDE, 4 * SIDE, 3)
    assert np.array_equal(canvas[: 2 * SIDE], detokenizer.decode(grid[None])[0])
    assert (canvas[2 * SIDE :] == PAPER).all()
    assert (detokenizer.paint(grid[:0], rows=2) == PAPER).all()


def test_a_whole_picture_has_no_paper_left(detokenizer: Detokenizer) -> None:
    grid = np.arange(16).reshape(4, 4)
    assert np.array_equal(detokenizer.paint(grid, rows=4), detokenizer.decode(grid[None])[0])


def given(detokenizer: Detokenizer, grid: NDArray[np.integer], rows: int) -> NDArray[np.integer]:
    """The ids that the decoder is given for a picture so far."""
    grids: list[NDArray[np.integer]] = []

    class Recording(Detokenizer):
        def decode(
            self, ids: NDArray[np.integer], memory_bytes: int = MEMORY_BUDGET_BYTES
        ) -> NDArray[np.uint8]:
            grids.append(ids[0])
            return super().decode(ids, memory_bytes)

    recording = Recording(detokenizer.path)
    grids.clear()  # the self-test
    recording.paint(grid, rows)
    (ids,) = grids
    return ids


@pytest.mark.parametrize("held", range(1, 13))
def test_below_the_rows_held_the_last_is_guessed_again_but_not_beyond_the_grid(
    detokenizer: Detokenizer, held: int
) -> None:
    rows, grid = 12, np.arange(48).reshape(12, 4)[:held]
    filled = given(detokenizer, grid, rows)
    assert len(filled) == min(held + GUESSED_ROWS, rows)
    assert np.array_equal(filled[:held], grid)
    assert (filled[held:] == grid[-1]).all()


def test_a_preview_is_given_no_guessed_rows(tmp_path: Path) -> None:
    file = tiny_detokenizer(tmp_path / "x.onnx", CODES, **{"rowcast.kind": "preview"})
    grid = np.arange(8).reshape(2, 4)
    assert np.array_equal(given(Detokenizer(file), grid, 12), grid)


@pytest.mark.parametrize("wrong", [CODES, 2**31 - 1, -1])
def test_an_id_outside_the_codebook(detokenizer: Detokenizer, wrong: int) -> None:
    grid = np.zeros((1, 2, 2), np.int64)
    grid[0, 1, 1] = wrong
    with pytest.raises(DetokenizerError, match="outside the codebook of 96"):
        detokenizer.decode(grid)


def test_threads_share_a_detokenizer(detokenizer: Detokenizer) -> None:
    grids = [np.full((1, 4, 4), code) for code in range(8)]
    results: dict[int, bool] = {}

    def work(index: int) -> None:
        wanted = (COLOURS[index] * 255).astype(np.uint8)
        results[index] = all(
            bool((detokenizer.decode(grids[index]) == wanted).all()) for _ in range(20)
        )

    threads = [threading.Thread(target=work, args=[index]) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(8), True)


# Files that are none


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DetokenizerError, match="no ONNX file"):
        Detokenizer(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"not onnx at all", random.Random(2).randbytes(4_096), b"\x08\x09"],
    ids=["empty", "zero", "text", "random", "a stub"],
)
def test_bytes_that_are_no_detokenizer(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.onnx"
    file.write_bytes(content)
    with pytest.raises(DetokenizerError, match="is no ONNX file"):
        Detokenizer(file)


def test_a_truncated_file_at_whatever_length(path: Path, tmp_path: Path) -> None:
    whole, file = path.read_bytes(), tmp_path / "x.onnx"
    for length in range(1, len(whole), len(whole) // 60):
        file.write_bytes(whole[:length])
        with pytest.raises(DetokenizerError, match="is no ONNX file"):
            Detokenizer(file)


def test_damage_anywhere_is_told_or_harmless(path: Path, tmp_path: Path) -> None:
    """Whatever a flipped byte does, it raises nothing else, and no unseen colour passes."""
    whole, file, chance = path.read_bytes(), tmp_path / "x.onnx", random.Random(3)
    ids = np.array(json.loads(self_test(path))["ids"]).reshape(1, 4, 4)
    expected, told = Detokenizer(path).decode(ids), 0
    for _ in range(200):
        spot = chance.randrange(len(whole))
        file.write_bytes(whole[:spot] + chance.randbytes(1) + whole[spot + 1 :])
        try:
            pixels = Detokenizer(file).decode(ids)
        except DetokenizerError:
            told += 1
        else:
            assert np.abs(pixels.astype(int) - expected).max() <= 2
    assert told > 20


def test_an_onnx_file_of_somebody_else(path: Path, tmp_path: Path) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(DetokenizerError, match="no detokenizer written by `rowcast export`"):
        Detokenizer(tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"rowcast.format": "2"}, "'2', not '1'"),
        ({"rowcast.codebook_size": "many"}, "damaged metadata"),
        ({"rowcast.codebook_size": ""}, "damaged metadata"),
        ({"rowcast.codebook_size": "-96"}, "outside the codebook"),
        ({"rowcast.codebook_size": "2"}, "outside the codebook"),
        ({"rowcast.pixels_per_token": "0"}, "damaged metadata"),
        ({"rowcast.pixels_per_token": "8"}, "damaged metadata"),
        ({"rowcast.pixels_per_token": "4.0"}, "damaged metadata"),
        ({"rowcast.self_test": ""}, "damaged metadata"),
        ({"rowcast.self_test": "[]"}, "damaged metadata"),
        ({"rowcast.self_test": "{}"}, "damaged metadata"),
        ({"rowcast.self_test": "[" * 100_000}, "damaged metadata"),
    ],
)
def test_metadata_that_cannot_be(tmp_path: Path, changes: dict[str, str], fault: str) -> None:
    file = tiny_detokenizer(tmp_path / "x.onnx", CODES, **changes)
    with pytest.raises(DetokenizerError, match=fault):
        Detokenizer(file)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"thumbnail": [0] * 48}, "fails its self-test: colours differ by up to 2"),
        ({"tolerance": -1}, "fails its self-test"),
        ({"tolerance": "nan"}, "fails its self-test"),
        ({"tolerance": "wide"}, "damaged metadata"),
        ({"thumbnail_side": 0}, "damaged metadata"),
        ({"thumbnail_side": 3}, "damaged metadata"),
        ({"thumbnail": [0]}, "damaged metadata"),
        ({"rows": -1}, "damaged metadata"),
        ({"rows": 10**18}, "damaged metadata"),
        ({"rows": 2}, "damaged metadata"),
        ({"ids": [10**30] * 16}, "damaged metadata"),
        ({"ids": [CODES] * 16}, "outside the codebook"),
        ({"ids": None}, "damaged metadata"),
    ],
)
def test_a_self_test_that_does_not_pass(
    path: Path, tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    changed = {"rowcast.self_test": self_test(path, **changes)}
    file = tiny_detokenizer(tmp_path / "x.onnx", CODES, **changed)
    with pytest.raises(DetokenizerError, match=fault):
        Detokenizer(file)


@pytest.mark.parametrize(("old", "new"), [("ids", "tokens"), ("pixels", "image")])
def test_a_graph_with_other_names(path: Path, tmp_path: Path, old: str, new: str) -> None:
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(DetokenizerError, match="cannot decode"):
        Detokenizer(tmp_path / "x.onnx")


def test_other_weights_are_found_by_the_self_test(path: Path, tmp_path: Path) -> None:
    model = onnx.load(path)
    (colours,) = (each for each in model.graph.initializer if each.name == "colours")
    changed = onnx.numpy_helper.to_array(colours)[::-1].copy()
    colours.CopyFrom(onnx.numpy_helper.from_array(changed, "colours"))
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(DetokenizerError, match="fails its self-test"):
        Detokenizer(tmp_path / "x.onnx")
