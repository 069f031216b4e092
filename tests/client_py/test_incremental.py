"""Pictures brought up to date: what the exporter's driver paints, whatever states are asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from rowcast.errors import DetokenizerError
from rowcast.incremental import IncrementalDecoder
from rowcast_export.incremental import IncrementalModule
from rowcast_export.incremental_file import make_incremental
from rowcast_export.incremental_painting import OnnxUpdater, Painting
from rowcast_export.runtime import to_bytes
from rowcast_export.vqgan import VQGANDecoder

from tests.support.tiny_model import tiny_detokenizer
from tests.vqgan_export.conftest import TINY
from tests.vqgan_export.references import lively

CODES, ROWS, COLS, SIDE = 50, 8, 6, 2


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    decoder = VQGANDecoder(TINY).eval()
    lively(decoder)
    file = tmp_path_factory.mktemp("incremental") / "incremental.onnx"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    make_incremental(IncrementalModule(decoder), file, "tiny", "ab" * 32, threads=1)
    torch.set_num_threads(threads)
    return file


@pytest.fixture
def decoder(path: Path) -> IncrementalDecoder:
    return IncrementalDecoder(path)


def draw(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, CODES, (ROWS, COLS))


def wanted(path: Path, ids: np.ndarray, updates: Iterable[int]) -> list[np.ndarray]:
    """By the exporter's driver."""
    painting = Painting(OnnxUpdater(path, threads=1), redone_half_rows=5)
    return [to_bytes(painting.show(ids[None, :rows].astype(np.int64)))[0] for rows in updates]


@pytest.mark.parametrize("updates", [range(1, ROWS + 1), (2, 6, 7, 8), (8,)])
def test_updates_are_those_of_the_exporter(
    decoder: IncrementalDecoder, path: Path, updates: Iterable[int]
) -> None:
    ids = draw().astype(np.uint32)  # as a picture holds them
    for rows, expected in zip(updates, wanted(path, ids, updates), strict=True):
        seen = decoder.paint("a", ids[:rows])
        assert seen.dtype == np.uint8
        assert seen.shape == (rows * SIDE, COLS * SIDE, 3)
        assert np.abs(seen.astype(int) - expected).max() <= 1
        assert seen.std() > 20


def test_the_same_rows_again_are_the_same_picture_without_a_decode(
    decoder: IncrementalDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = draw()
    for rows in (3, 5):
        shown = decoder.paint("a", ids[:rows])
    monkeypatch.setattr(decoder, "_session", None)
    again = decoder.paint("a", ids[:5])
    assert np.array_equal(again, shown)
    again[:] = 0  # the caller's own
    assert np.array_equal(decoder.paint("a", ids[:5]), shown)


def test_pictures_do_not_know_each_other(decoder: IncrementalDecoder, path: Path) -> None:
    grids = [draw(seed) for seed in range(3)]
    for rows in range(1, ROWS + 1):
        shown = [decoder.paint(number, ids[:rows]) for number, ids in enumerate(grids)]
    for ids, seen in zip(grids, shown, strict=True):
        alone = IncrementalDecoder(path)
        for rows in range(1, ROWS + 1):
            expected = alone.paint("alone", ids[:rows])
        assert np.array_equal(seen, expected)


def other_row(ids: np.ndarray) -> np.ndarray:
    changed = ids.copy()
    changed[1, 2] = (changed[1, 2] + 1) % CODES
    return changed


@pytest.mark.parametrize(
    "state", [lambda ids: other_row(ids), lambda ids: ids[:4], lambda ids: ids[:, :4]],
    ids=["another row", "fewer rows", "fewer columns"],
)  # fmt: skip
def test_rows_that_do_not_go_on_are_decoded_anew(
    decoder: IncrementalDecoder, path: Path, state: Any
) -> None:
    ids = draw()
    for rows in range(1, ROWS):
        decoder.paint("a", ids[:rows])
    changed = state(ids)
    assert np.array_equal(decoder.paint("a", changed), IncrementalDecoder(path).paint("b", changed))


def test_a_jump_differs_from_single_steps_and_neither_is_stale(
    decoder: IncrementalDecoder,
) -> None:
    ids = draw()
    for rows in range(1, ROWS + 1):
        steps = decoder.paint("steps", ids[:rows])
    decoder.paint("jump", ids[:1])
    jump = decoder.paint("jump", ids)
    fresh = decoder.paint("fresh", ids)
    assert np.array_equal(jump, fresh)  # the window held everything: nothing is approximated
    assert not np.array_equal(steps, fresh)
    other = decoder.paint("other", draw(1))
    near, far = (np.abs(each.astype(int) - fresh).mean() for each in (steps, other))
    assert near < 0.5 * far


def test_what_the_caller_does_to_its_ids_later_changes_nothing(
    decoder: IncrementalDecoder, path: Path
) -> None:
    ids = draw()
    held = ids[:4].copy()
    decoder.paint("a", held)
    held[:] = 0
    decoder.paint("b", ids[:4])
    assert np.array_equal(decoder.paint("a", ids), decoder.paint("b", ids))


def test_only_so_many_pictures_are_remembered(path: Path) -> None:
    decoder = IncrementalDecoder(path, pictures=2)
    ids = draw()
    expected = {name: decoder.paint(name, ids[:6]) for name in "ab"}
    after = decoder.paint("a", ids)  # the one asked for last
    for name in range(20):
        decoder.paint(name, draw(name)[:2])
        decoder.paint("a", ids)
    assert len(decoder._states) == 2
    assert np.array_equal(decoder.paint("a", ids), after)
    assert np.array_equal(decoder.paint("b", ids[:6]), expected["b"])  # anew
    decoder.forget("b")
    decoder.forget("b")
    assert list(decoder._states) == ["a"]


def test_forgetting_waits_for_no_update(
    decoder: IncrementalDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called where events are told: an event loop must not stand still meanwhile."""
    session, begun, go_on = decoder._session, threading.Event(), threading.Event()

    class Slow:
        def run(self, *arguments: Any) -> Any:
            begun.set()
            assert go_on.wait(10)
            return session.run(*arguments)

    decoder.paint("a", draw()[:2])
    monkeypatch.setattr(decoder, "_session", Slow())
    thread = threading.Thread(target=decoder.paint, args=["b", draw()])
    thread.start()
    assert begun.wait(10)
    decoder.forget("a")
    assert list(decoder._states) == []
    go_on.set()
    thread.join()
    assert list(decoder._states) == ["b"]


def test_no_room_for_pictures_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="pictures must be at least 1, not 0"):
        IncrementalDecoder(path, pictures=0)


@pytest.mark.parametrize("wrong", [CODES, 2**31, -1])
def test_an_id_outside_the_codebook_leaves_the_picture_as_it_was(
    decoder: IncrementalDecoder, wrong: int
) -> None:
    ids = draw()
    shown = decoder.paint("a", ids[:3])
    bad = ids[:5].copy()
    bad[4, 0] = wrong
    with pytest.raises(DetokenizerError, match=f"the id {wrong} is outside the codebook of 50"):
        decoder.paint("a", bad)
    assert np.array_equal(decoder.paint("a", ids[:3]), shown)


@pytest.mark.parametrize("shape", [(0, COLS), (ROWS, 0), (ROWS,), (1, ROWS, COLS)])
def test_what_is_no_grid_is_refused(decoder: IncrementalDecoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(DetokenizerError, match=r"wanted \[rows, cols\]"):
        decoder.paint("a", np.zeros(shape, np.int64))


def test_threads_share_a_decoder(decoder: IncrementalDecoder, path: Path) -> None:
    shown: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        for rows in range(1, ROWS + 1):
            shown[number] = decoder.paint(number, draw(number)[:rows])

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        [*_, expected] = wanted(path, draw(number), range(1, ROWS + 1))
        assert np.abs(shown[number].astype(int) - expected).max() <= 1


# Files that are none


def tampered(path: Path, target: Path, **entries: str | None) -> Path:
    """The file with other metadata; None removes an entry."""
    model = onnx.load(path)
    told = {entry.key: entry.value for entry in model.metadata_props}
    for name, value in entries.items():
        told.pop(f"rowcast.{name}")
        if value is not None:
            told[f"rowcast.{name}"] = value
    onnx.helper.set_model_props(model, told)
    onnx.save(model, target)
    return target


def test_a_full_detokenizer_is_none(tmp_path: Path) -> None:
    full = tiny_detokenizer(tmp_path / "full.onnx", CODES)
    with pytest.raises(DetokenizerError, match=r"full\.onnx is an ONNX file, but no incremental"):
        IncrementalDecoder(full)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DetokenizerError, match=r"none\.onnx is no ONNX file"):
        IncrementalDecoder(tmp_path / "none.onnx")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file(path: Path, tmp_path: Path, share: float) -> None:
    data = path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DetokenizerError, match=r"cut\.onnx"):
        IncrementalDecoder(tmp_path / "cut.onnx")


@pytest.mark.parametrize(
    "entries",
    [
        {"self_test": None},
        {"redone_half_rows": None},
        {"redone_half_rows": "many"},
        {"caches": "[[32]]"},
        {"caches": "[[32, 2], [32, 2]]"},
        {"carried_groups": "-1"},
        {"carried_groups": "7"},
        {"pixels_per_token": "3"},
        {"self_test": "{}"},
        {"self_test": "[" * 100_000},
        {"codebook_size": "2"},
    ],
    ids=str,
)
def test_damaged_metadata(path: Path, tmp_path: Path, entries: dict[str, str | None]) -> None:
    file = tampered(path, tmp_path / "x.onnx", **entries)
    with pytest.raises(DetokenizerError, match=r"x\.onnx|outside the codebook"):
        IncrementalDecoder(file)


def test_a_runtime_that_computes_something_else_is_found(path: Path, tmp_path: Path) -> None:
    told = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    test = json.loads(told["rowcast.self_test"])
    test["thumbnail"][0] += 20
    file = tampered(path, tmp_path / "x.onnx", self_test=json.dumps(test))
    with pytest.raises(DetokenizerError, match=r"x\.onnx fails its self-test: colours differ"):
        IncrementalDecoder(file)
