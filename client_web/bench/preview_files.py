"""Write a preview's weights twice, as ONNX file and flat, into a folder: to compare what runs them.

    .venv/bin/python client_web/bench/preview_files.py FOLDER [--real-size]

``postcard.onnx`` and ``postcard.bin`` are those of the embedded model in half precision. With
``--real-size`` (that takes torch) ``f16.onnx`` and ``f16.bin`` are of the size that a VQGAN of 16
pixels a token and 16,384 codes has, with random weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
from rowcast_export.preview.weights import (
    PreviewSizes,
    read_preview_weights,
    write_preview_weights,
)

POSTCARD = Path(__file__).parents[2] / "server/rowcast_server/models/postcard"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--real-size", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    shipped = read_preview_weights((POSTCARD / "preview.int8.bin").read_bytes())
    graph = onnx.load(POSTCARD / "preview.fp16.onnx")
    write(options.folder / "postcard", graph, shipped.sizes)
    if options.real_size:
        write(options.folder / "f16", *random_decoder())


def write(path: Path, graph: onnx.ModelProto, sizes: PreviewSizes) -> None:
    onnx.save(graph, path.with_suffix(".onnx"))
    path.with_suffix(".bin").write_bytes(write_preview_weights(graph, sizes))


def random_decoder() -> tuple[onnx.ModelProto, PreviewSizes]:
    import torch
    from rowcast_export.precision import convert
    from rowcast_export.preview.decoder import (
        BLOCKS,
        TABLE_CHANNELS,
        WIDTHS,
        PreviewDecoder,
        PreviewShape,
    )
    from rowcast_export.tracing import to_onnx

    torch.manual_seed(0)
    shape = PreviewShape(16384, 16, TABLE_CHANNELS, WIDTHS, BLOCKS)
    decoder = PreviewDecoder(shape).eval()
    return convert(to_onnx(decoder), "fp16"), decoder.sizes


if __name__ == "__main__":
    main()
