""".rows files: what they hold, and what is said of those that cannot be read."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rowcast.errors import ReplayError
from rowcast.messages import DoneReason
from rowcast.rows_file import (
    MAX_BYTES,
    decode_picture,
    encode_picture,
    load_rows,
    save_rows,
)

from tests.support.client.recipes import picture_of

VECTORS = Path(__file__).parents[1] / "vectors" / "rows_files.json"
FILES: list[dict[str, Any]] = json.loads(VECTORS.read_text("utf-8"))["files"]


def with_checksum(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


# Files


@pytest.mark.parametrize("vector", FILES, ids=lambda vector: vector["name"])
def test_golden_files_say_what_they_mean(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    if not vector["valid"]:
        # Python 3.11 bounds nesting by itself, 3.13 goes deeper: R-12 allows both.
        may_pass = vector.get("needs") == "bounded-nesting" and sys.version_info >= (3, 12)
        with contextlib.suppress(ReplayError) if may_pass else pytest.raises(ReplayError):
            decode_picture(data)
        return
    picture, meaning = decode_picture(data), vector["meaning"]
    recipe, sampling = picture.recipe, picture.recipe.sampling
    digest = recipe.detokenizer_sha256
    assert meaning == {
        "model": recipe.model,
        "revision": recipe.revision.hex(),
        "prompt": recipe.prompt,
        "seed": recipe.seed,
        "image": recipe.image,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "guidance": sampling.guidance,
        "rows": recipe.rows,
        "cols": recipe.cols,
        "id_bytes": recipe.id_bytes,
        "detokenizer": None if digest is None else digest.hex(),
        "reason": 255 if picture.reason is None else picture.reason,
        "ids": picture.held_bytes.hex(),
        "min_p": sampling.min_p,
    }
    if vector.get("canonical"):
        assert encode_picture(picture) == data


@pytest.mark.parametrize(
    ("rows_held", "reason"),
    [(0, None), (2, None), (2, DoneReason.STOP_ROW), (4, DoneReason.COMPLETE)],
)
def test_a_saved_picture_is_the_same_again(
    tmp_path: Path, rows_held: int, reason: DoneReason | None
) -> None:
    saved = picture_of(rows_held, reason)
    save_rows(saved, tmp_path / "x.rows")
    loaded = load_rows(tmp_path / "x.rows")
    assert loaded.recipe == saved.recipe
    assert loaded.reason is reason
    assert np.array_equal(loaded.grid, saved.grid)
    assert [path.name for path in tmp_path.iterdir()] == ["x.rows"]


def test_every_cut_and_every_flipped_bit_is_noticed() -> None:
    whole = encode_picture(picture_of(4))
    for length in range(len(whole)):
        with pytest.raises(ReplayError):
            decode_picture(whole[:length])
    for spot in range(len(whole)):
        with pytest.raises(ReplayError):
            decode_picture(whole[:spot] + bytes([whole[spot] ^ 4]) + whole[spot + 1 :])


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "not a .rows file"),
        (b"\x89PNG\r\n\x1a\n", "not a .rows file"),
        (b"ROWS\x01", "cut short"),
        (with_checksum(b"ROWS\x02\xc0"), "version 2"),
        (with_checksum(b"ROWS\x01\xc0"), "does not follow the format"),
        (with_checksum(b"ROWS\x01" + b"\x91" * 10_000), "does not follow the format"),
        (bytes(MAX_BYTES + 1), "too many"),
    ],
)
def test_what_is_no_rows_file_is_told_by_name(tmp_path: Path, data: bytes, fault: str) -> None:
    path = tmp_path / "broken.rows"
    path.write_bytes(data)
    with pytest.raises(ReplayError, match=fault) as caught:
        load_rows(path)
    assert str(path) in str(caught.value)


def test_values_beyond_their_range_are_refused() -> None:
    array = msgspec.msgpack.decode(encode_picture(picture_of(1))[5:-4])
    for place, value in ((6, 2**32), (3, -1), (9, 0), (11, 3), (14, b"123"), (1, b"short")):
        changed = [*array[:place], value, *array[place + 1 :]]
        with pytest.raises(ReplayError, match="does not follow the format"):
            decode_picture(with_checksum(b"ROWS\x01" + msgspec.msgpack.encode(changed)))


def test_a_missing_file_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_rows(tmp_path / "none.rows")
    (tmp_path / "x.rows").mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        save_rows(picture_of(1), tmp_path / "x.rows")
    assert caught.value.filename == str(tmp_path / "x.rows")
    assert [path.name for path in tmp_path.iterdir()] == ["x.rows"]


def test_a_file_that_cannot_be_replaced_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.rows"
    save_rows(picture_of(4), path)
    before = path.read_bytes()

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_rows(picture_of(1), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["x.rows"]
