"""Quality is measured on pictures that are known."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast.pixels.detokenizer import Detokenizer
from rowcast_bench.decode.files import DecoderFiles
from rowcast_bench.decode.quality import qualities
from rowcast_bench.decode.schemes import client_schemes

GRIDS = np.random.default_rng(0).integers(0, 50, (2, 8, 8))


def test_quality_of_each_scheme(tiny_files: DecoderFiles) -> None:
    pictures = []
    seen = qualities(
        [each for each in client_schemes(tiny_files, 1) if each.name != "whole_grid"],
        Detokenizer(tiny_files.full),
        GRIDS,
        lambda: pictures.append(1),
    )
    assert len(pictures) == 2
    assert list(seen) == ["palette", "preview", "full", "rows_so_far"]
    so_far, guessed = seen["rows_so_far"], seen["full"]
    assert so_far == seen["preview"]  # the same file
    assert so_far.psnr_db == so_far.psnr_db_of_whole == pytest.approx(120)
    assert so_far.ssim == pytest.approx(1)
    assert 5 < so_far.psnr_db_of_final < 60
    assert 5 < guessed.psnr_db_by_update[0] < 60  # rows were guessed below
    assert 5 < guessed.psnr_db_of_final < 60
    assert guessed.ssim < so_far.ssim
    assert seen["palette"].psnr_db < so_far.psnr_db
    assert seen["palette"].ssim < 1


def test_the_last_update_of_guessed_rows_is_the_full_decode(tiny_files: DecoderFiles) -> None:
    """Nothing is left to guess: every update but the last is another than the decode so far."""
    [scheme] = [each for each in client_schemes(tiny_files, 1) if each.name == "full"]
    grids = np.random.default_rng(1).integers(0, 50, (1, 16, 4))
    seen = qualities([scheme], Detokenizer(tiny_files.full), grids)["full"]
    assert seen.psnr_db_by_update[-1] == seen.psnr_db_of_whole == pytest.approx(120)
    assert max(seen.psnr_db_by_update[:-1]) < 100
