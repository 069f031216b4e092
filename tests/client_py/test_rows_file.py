""".rows files, and the pictures, time-lapses and recipes that come of them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from rowcast.errors import ReplayError
from rowcast.messages import DoneReason
from rowcast.picture import Picture, Recipe, Sampling
from rowcast.pixels.detokenizer import PAPER, Detokenizer
from rowcast.rows_file import (
    FRAME_MILLISECONDS,
    LAST_FRAME_MILLISECONDS,
    MAX_BYTES,
    decode_picture,
    encode_picture,
    final_image,
    load_rows,
    save_gif,
    save_png,
    save_rows,
    time_lapse,
)

from tests.support.tiny_model import PIXELS_PER_TOKEN, tiny_detokenizer

VECTORS = Path(__file__).parents[1] / "vectors" / "rows_files.json"
FILES: list[dict[str, Any]] = json.loads(VECTORS.read_text("utf-8"))["files"]
SIDE = PIXELS_PER_TOKEN


@pytest.fixture(scope="module")
def detokenizer(tmp_path_factory: pytest.TempPathFactory) -> Detokenizer:
    return Detokenizer(tiny_detokenizer(tmp_path_factory.mktemp("onnx") / "tiny.onnx", 96))


def picture_of(rows_held: int, reason: DoneReason | None = None) -> Picture:
    recipe = Recipe(
        model="tiny",
        revision=bytes.fromhex("1122334455667788"),
        prompt="a réd bōat 🚤",
        seed=2**32 - 1,
        image=3,
        sampling=Sampling(0.5, 32, 0.9, 4.0),
        rows=4,
        cols=4,
        id_bytes=2,
        detokenizer_sha256=bytes(32),
    )
    picture = Picture(recipe)
    if rows_held:
        picture.add_rows(0, np.arange(4 * rows_held).astype("<u2").tobytes())
    picture.reason = reason
    return picture


def with_checksum(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def frames_of(path: Path) -> Iterator[tuple[Image.Image, int]]:
    with Image.open(path) as gif:
        for index in range(getattr(gif, "n_frames", 1)):
            gif.seek(index)
            yield gif.convert("RGB"), int(gif.info["duration"])


# Files


@pytest.mark.parametrize("vector", FILES, ids=lambda vector: vector["name"])
def test_golden_files_say_what_they_mean(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    if not vector["valid"]:
        with pytest.raises(ReplayError):
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
    (tmp_path / "x.rows.part").mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        save_rows(picture_of(1), tmp_path / "x.rows")
    assert caught.value.filename == str(tmp_path / "x.rows")
    assert not (tmp_path / "x.rows").exists()


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.rows"
    save_rows(picture_of(4), path)
    before = path.read_bytes()
    (tmp_path / "x.rows.part").mkdir()
    with pytest.raises(OSError, match="directory"):
        save_rows(picture_of(1), path)
    assert path.read_bytes() == before


# Pictures


def test_the_picture_of_a_part_has_paper_below(detokenizer: Detokenizer) -> None:
    pixels = np.asarray(final_image(picture_of(3), detokenizer))
    assert pixels.shape == (16, 16, 3)
    assert (pixels[3 * SIDE :] == PAPER).all()
    assert np.array_equal(pixels[: 3 * SIDE], detokenizer.decode(np.arange(12).reshape(1, 3, 4))[0])


def test_the_time_lapse_has_a_frame_for_each_row(detokenizer: Detokenizer) -> None:
    picture = picture_of(4)
    frames = [np.asarray(frame) for frame in time_lapse(picture, detokenizer)]
    assert len(frames) == 4
    for held, frame in enumerate(frames, 1):
        assert (frame[held * SIDE :] == PAPER).all()
        assert np.array_equal(frame[: held * SIDE], frames[-1][: held * SIDE])
    assert np.array_equal(frames[-1], np.asarray(final_image(picture, detokenizer)))
    assert list(time_lapse(picture_of(0), detokenizer)) == []


def test_a_png_carries_its_recipe(detokenizer: Detokenizer, tmp_path: Path) -> None:
    picture, path = picture_of(2), tmp_path / "x.png"
    image = final_image(picture, detokenizer)
    save_png(image, picture, path)
    with Image.open(path) as again:
        again.load()
        assert again.tobytes() == image.tobytes()
        assert again.info == {
            "Software": "rowcast",
            "prompt": "a réd bōat 🚤",
            "seed": "4294967295",
            "image": "3",
            "model": "tiny",
            "revision": "1122334455667788",
            "temperature": "0.5",
            "top_k": "32",
            "top_p": "0.9",
            "guidance": "4.0",
            "rows": "2",
        }
    assert [each.name for each in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize("rows_held", [1, 2, 4])
def test_a_gif_shows_each_row_and_rests_on_the_last(
    detokenizer: Detokenizer, tmp_path: Path, rows_held: int
) -> None:
    picture, path = picture_of(rows_held), tmp_path / "x.gif"
    save_gif(time_lapse(picture, detokenizer), path)
    frames = list(frames_of(path))
    durations = [FRAME_MILLISECONDS] * (rows_held - 1) + [LAST_FRAME_MILLISECONDS]
    assert [duration for _, duration in frames] == durations
    for (frame, _), expected in zip(frames, time_lapse(picture, detokenizer), strict=True):
        difference = np.asarray(frame).astype(int) - np.asarray(expected)
        assert np.abs(difference).max() <= 8  # a palette of 256 colours
    with Image.open(path) as gif:
        assert gif.info.get("loop", 0) == 0  # for ever


def test_there_is_no_gif_of_nothing(detokenizer: Detokenizer, tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="nothing to show"):
        save_gif(time_lapse(picture_of(0), detokenizer), tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_cannot_be_written_leave_nothing(
    detokenizer: Detokenizer, tmp_path: Path
) -> None:
    picture, folder = picture_of(2), tmp_path / "none"
    saves: list[Callable[[], None]] = [
        lambda: save_png(final_image(picture, detokenizer), picture, folder / "x.png"),
        lambda: save_gif(time_lapse(picture, detokenizer), folder / "x.gif"),
        lambda: save_rows(picture, folder / "x.rows"),
    ]
    for save in saves:
        with pytest.raises(OSError, match="No such file") as caught:
            save()
        assert str(folder) in str(caught.value)
