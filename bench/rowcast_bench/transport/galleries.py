"""Galleries: the pictures that every way shows, their rows of ids, and how a server would see them.

`postcard` is real: a server draws its pictures once, and their rows are kept with their times.
The other has the sizes of DALL·E Mini's pictures: as many ids, a decoder of that shape with random
weights for what decoding costs, and in place of its pixels three photographs that scikit-image
ships, cut square and scaled.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rowcast
from numpy.typing import NDArray
from PIL import Image
from rowcast.events import RowsArrived
from rowcast.pixels.detokenizer import Detokenizer
from rowcast.pixels.palette import on_paper
from rowcast_server.config import ServerConfig
from rowcast_server.kept_folders import cached_folder
from rowcast_server.models.loading import load
from rowcast_server.models.sources import EMBEDDED
from rowcast_server.server import RowcastServer

from .ways import Pixels, Way

PROMPTS: Final = (
    "a red house at sunset",
    "sunset over a meadow, a red house on the left, a yellow balloon on the right",
    "night over the sea, a boat with a red sail",
)
PHOTOGRAPHS: Final = ("astronaut", "coffee", "chelsea")  # of skimage.data
GRID: Final = 16  # rows and columns
SIZES: Final = "sizes.json"
# Seconds from a request to each row.
RECORDED: Final = "recorded"
PACES: Final = {"20ms": 0.02, "200ms": 0.2}  # a row, as a GPU would


@dataclass(frozen=True)
class Gallery:
    """Pictures of one size. ``finals`` are pixels where the decoder's are none to look at.

    ``is_decoded``: the server decodes what it sends, in the run; otherwise what that costs is
    measured apart and added. ``paces`` has the times of all rows of a picture, by name. ``sizes``
    are bytes of the files for clients, by kind and precision.
    """

    name: str
    label: str
    ids: NDArray[np.int64]  # [pictures, rows, cols]
    codebook_size: int
    pixels_per_token: int
    full: Path  # beside its preview and its palette
    paces: dict[str, list[float]]
    sizes: dict[str, int]
    gflop: float  # of a full decode
    finals: NDArray[np.uint8] | None = None

    @property
    def is_decoded(self) -> bool:
        return self.finals is None

    @property
    def rows(self) -> int:
        return int(self.ids.shape[1])

    @property
    def side(self) -> int:
        """Height and width of a picture in pixels."""
        return self.rows * self.pixels_per_token

    def state(self, index: int, held: int, way: Way, decoder: Detokenizer | None) -> Pixels:
        """Picture ``index`` with so many rows as this way's server sees it, paper below them; of
        strips the last rows alone."""
        every = self.rows // way.frames if way.strips else held
        first = (held - every) * self.pixels_per_token
        if decoder is None:
            assert self.finals is not None
            return (
                self.finals[index, first : held * self.pixels_per_token]
                if way.strips
                else (on_paper(self.finals[index, : held * self.pixels_per_token], self.side))
            )
        grid = self.ids[index, :held]
        if way.whole_grid:
            below = self.rows - held
            filled = np.pad(grid, ((0, below), (0, 0)), constant_values=self.codebook_size - 1)
            pixels = decoder.decode(filled[None])[0, : held * self.pixels_per_token]
            return on_paper(pixels, self.side)
        painted = decoder.paint(grid, self.rows)
        return painted[first : held * self.pixels_per_token] if way.strips else painted


def postcard(pictures: int, pace: str = RECORDED) -> Gallery:
    """Pictures that postcard draws now, on this machine, with their times."""
    model = load(EMBEDDED)
    ids, times = asyncio.run(_record(pictures))
    return Gallery(
        "postcard",
        f"postcard, {GRID * model.pixels_per_token} px",
        ids,
        model.grid.codebook_size,
        model.pixels_per_token,
        model.detokenizer,
        {pace: times},
        {f"{file.kind} {file.precision}": file.size for file in model.files},
        gflop_of(model.detokenizer),
    )


async def _record(pictures: int) -> tuple[NDArray[np.int64], list[float]]:
    """Ids [pictures, rows, cols], and the median time of each row, in seconds from its request.

    A first picture, which is not kept, warms the engine.
    """
    server = RowcastServer(load(EMBEDDED), ServerConfig(port=0))
    await server.start()
    grids, times = [], []
    try:
        async with rowcast.connect(server.ws_url, decode=False) as client:
            for seed in range(-1, pictures):
                asked, seen = time.monotonic(), []
                prompt = PROMPTS[seed % len(PROMPTS)]
                async for event in client.generate(prompt, seed=max(seed, 0)):
                    done = event.picture
                    if isinstance(event, RowsArrived):
                        seen += [time.monotonic() - asked] * len(event.rows)
                if seed >= 0:
                    grids.append(done.grid.astype(np.int64))
                    times.append(seen)
    finally:
        await server.close()
    return np.stack(grids), [round(each, 5) for each in np.median(times, axis=0).tolist()]


def mini(pictures: int, shape: Any = None, tell: Callable[[str], object] = print) -> Gallery:
    """Pictures of DALL·E Mini's size, or as another decoder's shape has it."""
    from rowcast_export.vqgan import DecoderShape

    from ..decode.files import F16

    shape = shape or F16
    assert isinstance(shape, DecoderShape)
    digest = hashlib.sha256(f"4 {shape}".encode()).digest()
    folder = cached_folder("bench-transport", digest, lambda made: _write(shape, made, tell))
    sizes = json.loads((folder / SIZES).read_text("utf-8"))
    pixels = 2 ** (len(shape.levels) - 1)
    chance = np.random.default_rng(15)
    side = GRID * pixels
    return Gallery(
        "mini",
        f"DALL·E Mini's size, {side} px",
        chance.integers(0, shape.codebook_size, (pictures, GRID, GRID)),
        shape.codebook_size,
        pixels,
        folder / "detokenizer.onnx",
        {name: [seconds * (row + 1) for row in range(GRID)] for name, seconds in PACES.items()},
        sizes["bytes"],
        sizes["gflop"],
        np.stack([photograph(index, side) for index in range(pictures)]),
    )


def photograph(index: int, side: int) -> Pixels:
    """One of PHOTOGRAPHS, its middle cut square and scaled to ``side`` pixels."""
    import skimage.data

    whole = getattr(skimage.data, PHOTOGRAPHS[index % len(PHOTOGRAPHS)])()
    height, width = whole.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    square = Image.fromarray(whole[top : top + edge, left : left + edge])
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))


def _write(shape: Any, folder: Path, tell: Callable[[str], object]) -> None:
    """The files of a decoder with random weights, and the sizes of those in other precisions."""
    from rowcast_export.precision import convert
    from rowcast_export.preview.decoder import PreviewDecoder, PreviewShape
    from rowcast_export.preview.weights import write_preview_weights
    from rowcast_export.settings import PRECISIONS
    from rowcast_export.tracing import to_onnx

    from ..decode.files import random_module, write_random

    files = write_random(shape, folder, tell)
    sizes = {" ".join(key): size for key, size in files.sizes.items()}
    module = random_module(PreviewDecoder, PreviewShape.of(shape))
    graph = to_onnx(module)
    for precision in PRECISIONS[1:]:
        small = convert(graph, precision)
        sizes[f"preview {precision}"] = len(small.SerializeToString())
    weights = write_preview_weights(convert(graph, "int8"), module.sizes)
    (folder / "preview.int8.bin").write_bytes(weights)  # a browser's
    sizes["preview_weights int8"] = len(weights)
    told = {"bytes": sizes, "gflop": gflop_of(files.full)}
    (folder / SIZES).write_text(json.dumps(told), "utf-8")


def gflop_of(full: Path) -> float:
    """10^9 operations of one decode of a whole picture, counted in its graph."""
    from ..decode.flops import FlopCounter

    return round(FlopCounter(full).decodes([GRID], GRID)[0] / 1e9, 2)
