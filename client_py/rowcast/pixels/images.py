"""Image files of pictures: PNG that carries its recipe, and GIF that shows a time-lapse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import ReplayError
from ..picture import Picture
from ..whole_files import whole_file

FRAME_MILLISECONDS: Final = 120
LAST_FRAME_MILLISECONDS: Final = 1_600


def save_png(
    image: Image.Image, picture: Picture, path: Path, mosaic: tuple[int, int] | None = None
) -> None:
    """Write a PNG with its recipe as text: prompt, seed, image, model, revision, sampling.

    Of a ``mosaic`` of (rows, columns) of pictures, ``picture`` is the first. Raises OSError.
    """
    recipe, information = picture.recipe, PngInfo()
    for key, value in {
        "Software": "rowcast",
        "prompt": recipe.prompt,
        "seed": recipe.seed,
        "image": recipe.image,
        "model": recipe.model,
        "revision": recipe.revision.hex(),
        **(asdict(recipe.sampling) if recipe.is_known else {}),
        "rows": picture.rows_held,
    }.items():
        information.add_itxt(key, str(value))
    if mosaic is not None:
        information.add_itxt("mosaic", f"{mosaic[0]} x {mosaic[1]}")
    with whole_file(path) as partial:
        image.save(partial, format="PNG", pnginfo=information)


def save_gif(frames: Iterator[Image.Image], path: Path) -> None:
    """Write a time-lapse that loops and rests on its last frame.

    Raises ReplayError where there is no frame, OSError.
    """
    pictures = [frame.quantize(256, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]
    if not pictures:
        raise ReplayError("no row has arrived: there is nothing to show")
    durations = [FRAME_MILLISECONDS] * (len(pictures) - 1) + [LAST_FRAME_MILLISECONDS]
    first, rest = pictures[0], pictures[1:]
    with whole_file(path) as partial:
        first.save(
            partial, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0
        )
