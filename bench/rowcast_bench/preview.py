"""What the small decoder for previews costs, and how near it comes to the full one.

    python -m rowcast_bench.preview --threads 2

Cost: the f16 decoder at its real size (16,384 codes, 256x256 pixels) and the small one of the same
architecture as postcard's, both with random weights, in ONNX Runtime in turn. Quality: postcard's
files, on grids that it draws from prompts whose combinations no training scene has. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rowcast.detokenizer import Detokenizer
from rowcast.palette import Palette
from rowcast_export.export import describe, to_onnx, with_metadata
from rowcast_export.preview import PreviewDecoder
from rowcast_export.vqgan import DecoderShape, VQGANDecoder
from rowcast_server.engine.request import PictureRequest
from rowcast_server.models.loading import load

from .decode_files import F16, draw_grids, random_decoder, random_preview
from .similarity import psnr
from .whole_pictures import text_of

SEED: Final = 20_261_124
PROMPTS: Final = Path(__file__).with_name("held_out_prompts.txt")


@dataclass(frozen=True)
class PreviewCost:
    """Decodes of one picture, milliseconds; the medians of decodes in turn."""

    rows: int
    cols: int
    threads: int
    full_ms: float
    preview_ms: float
    preview_cost_ratio: float  # how many previews a full decode costs
    preview_parameters: int  # its table included
    preview_bytes: int  # of the fp32 file


@dataclass(frozen=True)
class PreviewQuality:
    """Decibels of 255 between the uint8 pixels of two decoders."""

    grids: int
    preview_psnr_db: float  # median
    preview_psnr_db_mean: float
    preview_psnr_db_of_mean_square: float  # all pixels of all grids together
    preview_psnr_db_worst: float
    palette_psnr_db: float | None  # median; what is shown before the preview


def write_random_pair(shape: DecoderShape, folder: Path) -> tuple[Path, Path, int]:
    """Full and small decoder of random weights, fp32 files, and the small one's parameters."""
    full, small = random_decoder(shape), random_preview(shape)
    modules: dict[str, VQGANDecoder | PreviewDecoder] = {"full": full, "preview": small}
    paths = []
    for kind, module in modules.items():
        model = to_onnx(module)
        path = folder / f"{kind}.onnx"
        path.write_bytes(with_metadata(model, describe(model, module, "random", "", kind=kind)))
        paths.append(path)
    return paths[0], paths[1], small.parameter_count


def preview_cost(
    shape: DecoderShape = F16, rows: int = 16, cols: int = 16, threads: int = 2, repeats: int = 5
) -> PreviewCost:
    """Time both decoders of a shape, in turn, as a client runs them."""
    with tempfile.TemporaryDirectory() as name:
        full_file, small_file, parameters = write_random_pair(shape, Path(name))
        size = small_file.stat().st_size
        full, small = Detokenizer(full_file, threads), Detokenizer(small_file, threads)
    ids = np.random.default_rng(0).integers(0, shape.codebook_size, (1, rows, cols))
    milliseconds: dict[Detokenizer, list[float]] = {full: [], small: []}
    for number in range(repeats + 1):
        for decoder, found in milliseconds.items():
            started = time.perf_counter()
            decoder.decode(ids)
            if number:  # the first is not counted: memory is asked for then
                found.append(1000 * (time.perf_counter() - started))
    full_ms, small_ms = (float(np.median(found)) for found in milliseconds.values())
    return PreviewCost(
        rows=rows,
        cols=cols,
        threads=threads,
        full_ms=round(full_ms, 1),
        preview_ms=round(small_ms, 2),
        preview_cost_ratio=round(full_ms / small_ms, 1),
        preview_parameters=parameters,
        preview_bytes=size,
    )


def held_out_prompts() -> list[str]:
    """Prompts with combinations that no training scene has (`training.evaluate` made them)."""
    return PROMPTS.read_text("utf-8").splitlines()


def held_out_grids(count: int, threads: int = 2, seed: int = SEED) -> NDArray[np.int64]:
    """Grids that postcard draws from the first so many of them, [count, rows, cols]."""
    prompts = held_out_prompts()[:count]
    model = load("postcard")
    requests = [
        PictureRequest(text_of(model, prompt), seed, image, model.sampling, model.grid.rows)
        for image, prompt in enumerate(prompts)
    ]
    return draw_grids(model, requests, threads)


def preview_quality(
    full: Path,
    preview: Path,
    grids: NDArray[np.integer],
    palette: Path | None = None,
    threads: int = 2,
) -> PreviewQuality:
    """Decode `grids` with both. Raises DetokenizerError for a file that is none."""
    truth, small = Detokenizer(full, threads), Detokenizer(preview, threads)
    table = None
    if palette is not None:
        table = Palette(palette.read_bytes(), truth.codebook_size, truth.pixels_per_token)
    near, coarse, squares = [], [], []
    for grid in grids:
        wanted = truth.decode(grid[None])[0]
        seen = small.decode(grid[None])[0]
        near.append(psnr(seen, wanted))
        squares.append(np.square(seen.astype(np.float64) - wanted).mean())
        if table is not None:
            coarse.append(psnr(table.decode(grid[None])[0], wanted))
    return PreviewQuality(
        grids=len(grids),
        preview_psnr_db=round(float(np.median(near)), 2),
        preview_psnr_db_mean=round(float(np.mean(near)), 2),
        preview_psnr_db_of_mean_square=round(
            float(10 * np.log10(255**2 / max(np.mean(squares), 1e-8))), 2
        ),
        preview_psnr_db_worst=round(min(near), 2),
        palette_psnr_db=round(float(np.median(coarse)), 2) if coarse else None,
    )


def postcard_quality(count: int, threads: int = 2) -> PreviewQuality:
    """That of the files that ship, on grids drawn now. Raises KeyError without a preview."""
    files = postcard_files()
    grids = held_out_grids(count, threads)
    return preview_quality(files["full"], files["preview"], grids, files.get("palette"), threads)


def postcard_files() -> dict[str, Path]:
    """The files that ship for clients, by kind."""
    return {file.kind: file.path for file in load("postcard").files}


def sheet(full: Path, preview: Path, palette: Path, grids: NDArray[np.integer]) -> Image.Image:
    """Each grid three times, from left to right: by the full decoder, the preview, the palette.

    Below it the same after half the rows. Pictures are set in two columns.
    """
    truth, small = Detokenizer(full), Detokenizer(preview)
    table = Palette(palette.read_bytes(), truth.codebook_size, truth.pixels_per_token)
    cells = []
    for grid in grids:
        halves = []
        for held in (grid, grid[: len(grid) // 2]):
            painted = [tier.decode(held[None])[0] for tier in (truth, small, table)]
            halves.append(np.concatenate(painted, axis=1))
        cells.append(np.pad(np.concatenate(halves), ((4, 4), (4, 4), (0, 0)), constant_values=255))
    lines = [np.concatenate(cells[first : first + 2], axis=1) for first in range(0, len(cells), 2)]
    return Image.fromarray(np.concatenate([line for line in lines if line.shape == lines[0].shape]))


def main() -> None:
    """Print cost and quality."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--grids", type=int, default=100, help="drawn now (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of the timing (default: 5)")
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="write a dozen pictures: full, preview, palette"
    )
    options = parser.parse_args()
    cost = preview_cost(threads=options.threads, repeats=options.repeats)
    print(
        f"f16, {cost.rows}x{cost.cols} tokens, {cost.threads} threads: full {cost.full_ms} ms, "
        f"preview {cost.preview_ms} ms: {cost.preview_cost_ratio} times cheaper "
        f"({cost.preview_parameters:,} parameters, {cost.preview_bytes:,} bytes in fp32)"
    )
    quality = postcard_quality(options.grids, options.threads)
    print(
        f"postcard, {quality.grids} grids: {quality.preview_psnr_db} dB (median), "
        f"{quality.preview_psnr_db_mean} (mean), {quality.preview_psnr_db_of_mean_square} (of all "
        f"pixels together), {quality.preview_psnr_db_worst} (worst); the palette "
        f"{quality.palette_psnr_db}"
    )
    if options.sheet is not None:
        files = postcard_files()
        grids = held_out_grids(12, options.threads)
        sheet(files["full"], files["preview"], files["palette"], grids).save(options.sheet)
    print(json.dumps(asdict(cost) | asdict(quality)))


if __name__ == "__main__":
    main()
