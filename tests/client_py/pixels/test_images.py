"""Images of saved pictures: painted, as a PNG that carries its recipe, as a GIF that forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rowcast.errors import ReplayError
from rowcast.pixels.detokenizer import Detokenizer
from rowcast.pixels.images import (
    FRAME_MILLISECONDS,
    LAST_FRAME_MILLISECONDS,
    save_gif,
    save_png,
)
from rowcast.pixels.palette import PAPER
from rowcast.pixels.time_lapse import final_image, time_lapse
from rowcast.rows_file import save_rows

from tests.support.client.recipes import picture_of
from tests.support.tiny_model import PIXELS_PER_TOKEN, tiny_detokenizer

SIDE = PIXELS_PER_TOKEN


@pytest.fixture(scope="module")
def detokenizer(tmp_path_factory: pytest.TempPathFactory) -> Detokenizer:
    return Detokenizer(tiny_detokenizer(tmp_path_factory.mktemp("onnx") / "tiny.onnx", 96))


def frames_of(path: Path) -> Iterator[tuple[Image.Image, int]]:
    with Image.open(path) as gif:
        for index in range(getattr(gif, "n_frames", 1)):
            gif.seek(index)
            yield gif.convert("RGB"), int(gif.info["duration"])


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
            "min_p": "0.0",
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
