"""Quality is measured on pictures that are known."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast.detokenizer import Detokenizer
from rowcast_bench.decode_files import DecoderFiles
from rowcast_bench.decode_quality import qualities, rounded
from rowcast_bench.decode_schemes import client_schemes, incremental_scheme

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
    assert list(seen) == ["palette", "preview", "incremental", "rows_so_far"]
    full, near = seen["rows_so_far"], seen["incremental"]
    assert full == seen["preview"]  # the same file
    assert full.psnr_db == full.psnr_db_of_whole == pytest.approx(120)
    assert full.ssim == full.seam_beyond_full == pytest.approx(1)
    assert 5 < full.psnr_db_of_final < 60
    assert near.psnr_db_by_update[:3] == pytest.approx([120] * 3, abs=60)  # but for rounding
    assert min(near.psnr_db_by_update[:3]) > max(near.psnr_db_by_update[4:])
    assert 15 < near.psnr_db_by_update[-1] < 60
    assert seen["palette"].psnr_db < near.psnr_db
    assert seen["palette"].ssim < near.ssim < 1


def test_an_update_of_all_rows_is_the_full_decode(tiny_files: DecoderFiles) -> None:
    scheme = incremental_scheme(tiny_files, 1, every=8)
    seen = qualities([scheme], Detokenizer(tiny_files.full), GRIDS)["incremental"]
    assert len(seen.psnr_db_by_update) == 1
    assert seen.psnr_db > 60
    assert seen.seam_beyond_full == pytest.approx(1, abs=1e-3)


def test_a_palette_of_one_colour_a_code_has_no_seam_ratio(tiny_files: DecoderFiles) -> None:
    """Nothing changes inside of its rows."""
    palette = client_schemes(tiny_files, 1)[0]
    seen = qualities([palette], Detokenizer(tiny_files.full), GRIDS)["palette"]
    assert seen.seam is None or seen.seam > 0
    assert rounded(None) is None
    assert rounded(1.23456) == 1.235
