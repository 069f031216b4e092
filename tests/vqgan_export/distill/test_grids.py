"""Files of grids: read whole, or refused with a sentence that names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rowcast.grids import GridFile, Origin
from rowcast_export.distill.grids import read_grids
from rowcast_export.errors import GridsError

CODES = 50
IDS = np.random.default_rng(0).integers(0, CODES, (10, 4, 5))


def write_npz(path: Path, ids: Any = IDS, about: bytes | None = None) -> Path:
    told = json.dumps({"codebook_size": CODES}).encode() if about is None else about
    np.savez(path, ids=ids, about=np.frombuffer(told, np.uint8))
    return path


def test_what_the_client_keeps_is_what_is_read(tmp_path: Path) -> None:
    """The two packages meet in the file alone."""
    origin = Origin("tiny", "00" * 8, CODES, 4, 5, 7, 1, {}, [f"prompt {n}" for n in range(10)])
    file = GridFile(tmp_path / "grids.npz", origin)
    for number, grid in enumerate(IDS):
        file.add(number, grid.astype(np.uint32))
    file.save()
    assert np.array_equal(read_grids(tmp_path / "grids.npz", CODES).ids, IDS)
    with pytest.raises(GridsError, match="a codebook of 50, the decoder has 51 codes"):
        read_grids(tmp_path / "grids.npz", CODES + 1)


def test_a_plain_array_will_do_and_is_the_same_grids(tmp_path: Path) -> None:
    np.save(tmp_path / "grids.npy", IDS.astype(np.uint16))
    plain = read_grids(tmp_path / "grids.npy", CODES)
    assert np.array_equal(plain.ids, IDS)
    assert plain.ids.dtype == np.int64
    assert plain.sha256 == read_grids(write_npz(tmp_path / "grids.npz"), CODES).sha256
    other = read_grids(write_npz(tmp_path / "other.npz", IDS.reshape(10, 5, 4)), CODES)
    assert plain.sha256 != other.sha256


@pytest.mark.parametrize(
    ("ids", "complaint"),
    [
        (IDS[:7], "holds 7 grids; at least 8 are needed"),
        (IDS[0], r"not int64 \[4, 5\]"),
        (IDS[:, :0], r"not int64 \[10, 0, 5\]"),
        (IDS.astype(np.float32), "not float32"),
        (IDS + 1, "holds the id 50, the decoder has 50 codes"),
        (IDS - 1, "holds the id -1"),
    ],
)
def test_grids_of_another_kind_are_named(tmp_path: Path, ids: Any, complaint: str) -> None:
    path = write_npz(tmp_path / "grids.npz", ids)
    with pytest.raises(GridsError, match=complaint) as caught:
        read_grids(path, CODES)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("about", [b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_description_is_named(tmp_path: Path, about: bytes) -> None:
    with pytest.raises(GridsError, match="is no file of grids, or is damaged"):
        read_grids(write_npz(tmp_path / "grids.npz", about=about), CODES)


def test_no_file_of_grids_at_all(tmp_path: Path) -> None:
    whole = write_npz(tmp_path / "grids.npz").read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"a red house\n",
        "cut": whole[: len(whole) // 2],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(GridsError, match=f"{name} is no file of grids"):
            read_grids(tmp_path / name, CODES)
    np.savez(tmp_path / "other.npz", pictures=IDS)
    with pytest.raises(GridsError, match="ids is not a file in the archive"):
        read_grids(tmp_path / "other.npz", CODES)
    with pytest.raises(FileNotFoundError):
        read_grids(tmp_path / "nowhere.npz", CODES)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "grids.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(GridsError, match="allow_pickle=False"):
        read_grids(tmp_path / "grids.npy", CODES)
