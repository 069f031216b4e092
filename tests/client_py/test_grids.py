"""Files of grids: complete or not at all, continued by the same origin alone."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from rowcast import grids
from rowcast.errors import InvalidRequest, ReplayError
from rowcast.grids import GridFile, Origin, read_grids

ORIGIN = Origin(
    model="tiny",
    revision="0011223344556677",
    codebook_size=96,
    rows=2,
    cols=3,
    seed=7,
    images=2,
    sampling={"temperature": 1.0, "top_k": 32},
    prompts=["a red boat", "ein grünes Boot"],
)
GRIDS = np.arange(4 * 2 * 3).reshape(4, 2, 3).astype(np.uint32)


def saved(path: Path, *numbers: int, origin: Origin = ORIGIN) -> GridFile:
    file = GridFile(path, origin)
    for number in numbers:
        file.add(number, GRIDS[number])
    file.save()
    return file


def test_grids_come_back_by_number_whatever_their_order(tmp_path: Path) -> None:
    path = tmp_path / "grids.npz"
    saved(path, 3, 0)
    origin, found = read_grids(path)
    assert origin == ORIGIN
    assert list(found) == [0, 3]
    assert np.array_equal(found[3], GRIDS[3])
    assert os.listdir(tmp_path) == ["grids.npz"]
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["ids"].dtype == np.uint16
        assert arrays["numbers"].tolist() == [0, 3]


def test_ids_of_a_large_codebook_are_wide(tmp_path: Path) -> None:
    wide = replace(ORIGIN, codebook_size=70_000)
    GRIDS[0, 0, 0] = 69_999
    saved(tmp_path / "grids.npz", 0, origin=wide)
    assert read_grids(tmp_path / "grids.npz")[1][0][0, 0] == 69_999
    GRIDS[0, 0, 0] = 0


def test_what_is_missing_is_drawn_next(tmp_path: Path) -> None:
    path = tmp_path / "grids.npz"
    assert GridFile(path, ORIGIN).missing == [0, 1, 2, 3]
    saved(path, 3, 0)
    assert GridFile(path, ORIGIN).missing == [1, 2]
    assert read_grids(path)[0].seed == 7
    assert [ORIGIN.prompt(number) for number in range(4)] == [
        prompt for prompt in ORIGIN.prompts for _ in range(2)
    ]


def test_prompts_may_be_added_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "grids.npz"
    saved(path, 0, 1, 2, 3)
    longer = replace(ORIGIN, prompts=[*ORIGIN.prompts, "a tree"])
    assert GridFile(path, longer).missing == [4, 5]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seed": 8}, r"of other seed \(7, not 8\)"),
        ({"images": 3}, r"of other images \(2, not 3\)"),
        ({"revision": "ff" * 8}, "of other revision"),
        ({"sampling": {"temperature": 0.5, "top_k": 32}}, "of other sampling"),
        ({"prompts": ["a tree", "ein grünes Boot"]}, "of other prompts;"),
        ({"prompts": ["a red boat"]}, "was begun with 2 prompts, these are only 1"),
    ],
)
def test_another_origin_is_refused(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    path = tmp_path / "grids.npz"
    saved(path, 0)
    before = path.read_bytes()
    with pytest.raises(ReplayError, match=complaint) as caught:
        GridFile(path, replace(ORIGIN, **change))  # type: ignore[arg-type]
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grids.npz"
    saved(path, 0, 1)
    whole = path.read_bytes()
    for content in (b"", b"a red boat", whole[:-30], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ReplayError, match=r"or is damaged: it is no \.npz file"):
            read_grids(path)


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"rows": 3}, {"more": 1}, {"prompts": ["only one"], "images": 1}]
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    about = json.dumps({"format": 1, **asdict(ORIGIN), **change}).encode()
    np.savez(
        tmp_path / "grids.npz",
        ids=GRIDS.astype(np.uint16),
        numbers=np.arange(4, dtype=np.uint32),
        about=np.frombuffer(about, np.uint8),
    )
    with pytest.raises(ReplayError, match="is no file of grids, or is damaged"):
        read_grids(tmp_path / "grids.npz")


def test_what_cannot_be_saved_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grids.npz"
    file = saved(path, 0)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        file.save()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["grids.npz"]


def test_it_is_saved_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grids.npz"
    file = GridFile(path, ORIGIN)
    file.add(0, GRIDS[0])
    assert not path.exists()
    monkeypatch.setattr(grids, "SAVE_SECONDS", 0.0)
    file.add(1, GRIDS[1])
    assert list(read_grids(path)[1]) == [0, 1]


def test_more_pictures_than_a_seed_has(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="131072 pictures of one seed"):
        GridFile(tmp_path / "grids.npz", replace(ORIGIN, images=65_536))
