"""Decoders of `rowcast bench decode`: one of DALL·E Mini's size with random weights, and
postcard's own files with pictures that it draws.

The first is for cost, which does not depend on values; the second for quality, which does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rowcast_export.building import build
from rowcast_export.detokenizer_file import describe, with_metadata
from rowcast_export.distill.palette_teaching import SIDE
from rowcast_export.formats import read_detokenizer
from rowcast_export.palette import make_palette, npy_bytes
from rowcast_export.precision import convert
from rowcast_export.preview import PreviewDecoder, PreviewShape
from rowcast_export.settings import PRECISIONS, Settings, settle
from rowcast_export.tracing import to_onnx
from rowcast_export.vqgan import DecoderShape, LevelShape, VQGANDecoder
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_together
from rowcast_server.models.client_files import read_detokenizer as files_beside
from rowcast_server.models.loading import LoadedModel

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
    shape: DecoderShape
    sizes: dict[tuple[str, str], int]


def random_decoder(shape: DecoderShape, seed: int = 0) -> VQGANDecoder:
    """A decoder of that shape with torch's own random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VQGANDecoder(shape).eval()


def random_preview(shape: DecoderShape, seed: int = 0) -> PreviewDecoder:
    """The small decoder that goes with it, likewise."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PreviewDecoder(PreviewShape.of(shape)).eval()


def postcard_decoder(folder: Path) -> tuple[VQGANDecoder, str]:
    """The embedded model's decoder, and its checkpoint's sha256."""
    checkpoint = read_detokenizer(folder / "detokenizer.safetensors")
    settings = settle(checkpoint.metadata, Settings("postcard"))
    return build(checkpoint, settings), checkpoint.sha256


def write_random(
    shape: DecoderShape, folder: Path, tell: Callable[[str], object] = lambda what: None
) -> DecoderFiles:
    """All files of a decoder of that shape, as `rowcast export` writes them, but not verified."""
    name, sha256 = "random", "00" * 32
    decoder = random_decoder(shape)
    tell("tracing the full decoder")
    full = folder / "detokenizer.onnx"
    graph = to_onnx(decoder)
    full.write_bytes(with_metadata(graph, describe(graph, decoder, name, sha256)))
    sizes = {("full", PRECISIONS[0]): full.stat().st_size}
    for precision in PRECISIONS[1:]:
        tell(f"converting the full decoder to {precision}")
        sizes["full", precision] = len(convert(graph, precision).SerializeToString())
    tell("tracing the preview decoder")
    small = random_preview(shape)
    graph = to_onnx(small)
    notes = describe(graph, small, name, sha256, kind="preview")
    (folder / "preview.onnx").write_bytes(with_metadata(graph, notes))
    tell("mixing the palette")
    palette = folder / "palette.npy"
    plane = make_palette(decoder)[0]  # as large as a taught one
    palette.write_bytes(npy_bytes(plane.repeat(SIDE, axis=1).repeat(SIDE, axis=2)))
    sizes["palette", "uint8"] = palette.stat().st_size
    return _files(folder, full, shape, sizes)


def postcard_files(model: LoadedModel) -> DecoderFiles:
    """postcard's own files."""
    folder = model.detokenizer.parent
    decoder, _ = postcard_decoder(folder)
    sizes = {(file.kind, file.precision): file.size for file in model.files}
    return _files(folder, model.detokenizer, decoder.shape, sizes)


def _files(
    folder: Path, full: Path, shape: DecoderShape, sizes: dict[tuple[str, str], int]
) -> DecoderFiles:
    """With the preview decoder of the highest precision that lies in ``folder``."""
    found = [file for file in files_beside(full).files if file.kind == "preview"]
    sizes |= {(file.kind, file.precision): file.size for file in found}
    found.sort(key=lambda file: PRECISIONS.index(file.precision))
    return DecoderFiles(full, folder / "palette.npy", found[0].path, shape, sizes)


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
