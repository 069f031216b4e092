"""The files of a decoder small enough to export in a test."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast_bench.decode.files import DecoderFiles
from rowcast_export.detokenizer_file import describe, with_metadata
from rowcast_export.palette import npy_bytes
from rowcast_export.tracing import to_onnx
from rowcast_export.vqgan import VQGANDecoder

from tests.support.decoders import TINY, lively


@pytest.fixture(scope="session")
def tiny_decoder(one_thread: None) -> VQGANDecoder:
    decoder = VQGANDecoder(TINY).eval()
    lively(decoder)
    return decoder


@pytest.fixture(scope="session")
def tiny_files(
    tiny_decoder: VQGANDecoder, tmp_path_factory: pytest.TempPathFactory
) -> DecoderFiles:
    """Files of 50 codes with 2 x 2 pixels; the full decoder stands for the preview too."""
    folder = tmp_path_factory.mktemp("files")
    full, palette = folder / "detokenizer.onnx", folder / "palette.npy"
    model = to_onnx(tiny_decoder)
    full.write_bytes(with_metadata(model, describe(model, tiny_decoder, "tiny", "ab" * 32)))
    colours = np.random.default_rng(0).integers(0, 256, (50, 1, 1, 3), np.uint8)
    palette.write_bytes(npy_bytes(colours))
    sizes = {("full", "fp32"): full.stat().st_size, ("palette", "uint8"): palette.stat().st_size}
    return DecoderFiles(full, palette, full, TINY.codebook_size, sizes)
