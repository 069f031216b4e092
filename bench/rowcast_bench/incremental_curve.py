"""Cost against quality of incremental decoding, by how many half rows are redone.

    python -m rowcast_bench.incremental_curve --pictures 24 --redone 2 5 6 --step 1

Cost: operations counted in exported graphs of the f16 decoder at its real size, with random
weights. Quality: postcard, on pictures that it draws from its example prompts. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from rowcast_export.export import build, describe, to_onnx, with_metadata
from rowcast_export.formats import read_detokenizer
from rowcast_export.incremental import IncrementalModule
from rowcast_export.incremental_file import export_incremental
from rowcast_export.incremental_file import to_onnx as update_to_onnx
from rowcast_export.settings import Settings, settle
from rowcast_export.vqgan import DecoderShape, LevelShape, VQGANDecoder
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.models.loading import load

from .decode_flops import full_flops, update_flops
from .decode_quality import incremental_quality
from .whole_pictures import UNCONDITIONAL, draw_together, text_of

ROWS: Final = 16
SLOTS: Final = 8
# DALL-E Mini's and taming's f16 decoder: channels 128 x (1, 1, 2, 2, 4), three blocks a level.
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


def costs(
    shape: DecoderShape, redone: list[int], step: int, threads: int, folder: Path
) -> dict[int, dict[str, Any]]:
    """In full decodes, by redone half rows: all updates with the final decode, and each update."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = VQGANDecoder(shape).eval()
    full = folder / "full.onnx"
    onnx.save(to_onnx(decoder), full)
    whole = full_flops(full, ROWS, ROWS, threads)
    graph = update_to_onnx(IncrementalModule(decoder))
    found = {}
    for half_rows in redone:
        file = folder / "incremental.onnx"
        file.write_bytes(with_metadata(graph, {"rowcast.redone_half_rows": str(half_rows)}))
        shares = [count / whole for count in update_flops(file, ROWS, ROWS, step, threads)]
        found[half_rows] = {
            "total_full_decodes": round(sum(shares) + 1, 3),
            "update_full_decodes_max": round(max(shares), 3),
            "update_full_decodes": [round(share, 3) for share in shares],
        }
    return found


def postcard_grids(pictures: int, threads: int) -> NDArray[np.int64]:
    """Grids that postcard draws from its example prompts, [pictures, rows, cols]."""
    model = load("postcard")
    examples = json.loads((_postcard() / "model.json").read_text("utf-8"))["examples"]
    runner = OnnxRunner(model.encoder, model.decoder, model.grid, UNCONDITIONAL, SLOTS, threads)
    requests = [
        PictureRequest(
            text_of(model, examples[number % len(examples)]),
            number,
            0,
            model.sampling,
            model.grid.rows,
        )
        for number in range(pictures)
    ]
    return np.stack(draw_together(Engine(runner), requests))


def qualities(
    grids: NDArray[np.int64], redone: list[int], step: int, threads: int, folder: Path
) -> dict[int, dict[str, Any]]:
    """`IncrementalQuality` on postcard, by redone half rows."""
    checkpoint = read_detokenizer(_postcard() / "detokenizer.safetensors")
    decoder = build(checkpoint, settle(checkpoint.metadata, Settings("postcard")))
    model = to_onnx(decoder)
    full, file = folder / "full.onnx", folder / "incremental.onnx"
    full.write_bytes(with_metadata(model, describe(model, decoder, "postcard", checkpoint.sha256)))
    found = {}
    for half_rows in redone:
        export_incremental(decoder, file, "postcard", checkpoint.sha256, half_rows, threads=threads)
        found[half_rows] = asdict(incremental_quality(full, file, grids, step, threads))
    return found


def _postcard() -> Path:
    """The folder of the embedded model."""
    spec = importlib.util.find_spec("rowcast_server")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)), "models", "postcard")


def main() -> None:
    """Print one line for each number of redone half rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--redone", type=int, nargs="+", default=[2, 3, 4, 5, 6, 8])
    parser.add_argument("--pictures", type=int, default=24, help="default: %(default)s")
    parser.add_argument("--step", type=int, default=1, help="rows an update (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cost = costs(F16, options.redone, options.step, options.threads, folder)
        grids = postcard_grids(options.pictures, options.threads)
        quality = qualities(grids, options.redone, options.step, options.threads, folder)
    result = {half_rows: {**cost[half_rows], **quality[half_rows]} for half_rows in options.redone}
    for half_rows, row in result.items():
        print(
            f"{half_rows / 2:g} rows redone: total {row['total_full_decodes']:.2f}, worst update "
            f"{row['update_full_decodes_max']:.3f}, {row['psnr_db']:.1f} dB, of the final picture "
            f"{row['psnr_db_of_final']:.1f} (full decodes {row['full_psnr_db_of_final']:.1f}), "
            f"seam {row['seam']:.2f} (full decodes {row['seam_of_full']:.2f})"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
