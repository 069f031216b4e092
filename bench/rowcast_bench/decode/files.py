"""Decoders of `rowcast bench decode`: one of DALL·E Mini's size with random weights, and
postcard's own files with pictures that it draws.

The first is for cost, which does not depend on values; the second for quality, which does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rowcast_export.detokenizer_file import describe, with_metadata
from rowcast_export.distill.palette_teaching import SIDE
from rowcast_export.palette import make_palette, npy_bytes
from rowcast_export.precision import convert
from rowcast_export.preview.decoder import PreviewDecoder, PreviewShape
from rowcast_export.settings import PRECISIONS
from rowcast_export.tracing import to_onnx
from rowcast_export.vqgan import DecoderShape, LevelShape, VQGANDecoder
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_together
from rowcast_server.models.client_files import read_detokenizer as files_beside
from rowcast_server.models.loading import LoadedModel

Shape = TypeVar("Shape")
Module = TypeVar("Module", bound=torch.nn.Module)
SLOTS: Final = 8
# Seeds from here on: nothing was trained on, or fitted to, the pictures that they draw.
HELD_OUT_SEED: Final = 1_000_000
PROMPTS: Final = Path(__file__).with_name("held_out_prompts.txt")
# DALL·E Mini's and taming's f16 decoder: channels 128 x (1, 1, 2, 2, 4), three blocks a level.
F16: Final = DecoderShape(
    codebook_size=16_384,
    code_channels=256,
    latent_channels=256,
    mid_channels=512,
    mid_attention=True,
    levels=(
        LevelShape(128, (128,) * 3, attention=False, upsample=False),
        LevelShape(256, (128,) * 3, attention=False, upsample=True),
        LevelShape(256, (256,) * 3, attention=False, upsample=True),
        LevelShape(512, (256,) * 3, attention=False, upsample=True),
        LevelShape(512, (512,) * 3, attention=True, upsample=True),
    ),
)
# As many codes, for a quick look: every figure is another.
QUICK: Final = DecoderShape(
    codebook_size=16_384,
    code_channels=32,
    latent_channels=32,
    mid_channels=64,
    mid_attention=True,
    levels=(
        LevelShape(64, (64, 64), attention=False, upsample=False),
        LevelShape(64, (64,), attention=False, upsample=True),
        LevelShape(64, (64,), attention=True, upsample=True),
    ),
)


@dataclass(frozen=True)
class DecoderFiles:
    """The files of one decoder. ``sizes`` [kind, precision] is in bytes."""

    full: Path
    palette: Path
    preview: Path
    codebook_size: int
    sizes: dict[tuple[str, str], int]


def random_module(kind: Callable[[Shape], Module], shape: Shape) -> Module:
    """A decoder of that shape with torch's own random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(shape).eval()


def write_random(
    shape: DecoderShape, folder: Path, tell: Callable[[str], object] = lambda what: None
) -> DecoderFiles:
    """All files of a decoder of that shape, as `rowcast export` writes them, but not verified."""
    name, sha256 = "random", "00" * 32
    decoder = random_module(VQGANDecoder, shape)
    tell("tracing the full decoder")
    full = folder / "detokenizer.onnx"
    graph = to_onnx(decoder)
    full.write_bytes(with_metadata(graph, describe(graph, decoder, name, sha256)))
    sizes = {}
    for precision in PRECISIONS[1:]:
        tell(f"converting the full decoder to {precision}")
        sizes["full", precision] = len(convert(graph, precision).SerializeToString())
    tell("tracing the preview decoder")
    small = random_module(PreviewDecoder, PreviewShape.of(shape))
    graph = to_onnx(small)
    notes = describe(graph, small, name, sha256, kind="preview")
    (folder / "preview.onnx").write_bytes(with_metadata(graph, notes))
    tell("mixing the palette")
    plane = make_palette(decoder)[0]  # as large as a taught one
    (folder / "palette.npy").write_bytes(npy_bytes(plane.repeat(SIDE, axis=1).repeat(SIDE, axis=2)))
    return decoder_files(full, sizes)


def decoder_files(full: Path, sizes: Mapping[tuple[str, str], int]) -> DecoderFiles:
    """The files in a folder, with the preview decoder of the highest precision.

    ``sizes`` are those of files that are not kept there.
    """
    found = files_beside(full)
    previews = {file.precision: file.path for file in found.files if file.kind == "preview"}
    preview = next(previews[each] for each in PRECISIONS if each in previews)
    kept = {(file.kind, file.precision): file.size for file in found.files}
    palette = full.with_name("palette.npy")
    return DecoderFiles(full, palette, preview, found.codebook_size, {**kept, **sizes})


def held_out_prompts() -> list[str]:
    """Prompts with combinations that no training scene has (`training.evaluate` made them)."""
    return PROMPTS.read_text("utf-8").splitlines()


def held_out(pictures: int) -> Iterator[tuple[str, int]]:
    """Prompt and seed of each: the held-out prompts in turn, from HELD_OUT_SEED on."""
    prompts = itertools.cycle(held_out_prompts())
    return zip(prompts, range(HELD_OUT_SEED, HELD_OUT_SEED + pictures), strict=False)


def held_out_grids(
    model: LoadedModel,
    pictures: int,
    threads: int,
    advance: Callable[[], object] = lambda: None,
) -> NDArray[np.int64]:
    """Grids that an engine of its own draws of `held_out`: [pictures, rows, cols]. ``advance`` is
    called with every row."""
    requests = [
        PictureRequest(model.text_ids(prompt), seed, 0, model.sampling, model.grid.rows)
        for prompt, seed in held_out(pictures)
    ]
    runner = OnnxRunner(model, SLOTS, threads)
    return np.stack(draw_together(Engine(runner), requests, advance))
