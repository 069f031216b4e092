"""Operations are counted as torch counts them; quality is measured on pictures that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rowcast_bench.decode_flops import full_flops, update_flops
from rowcast_bench.decode_quality import gradients, incremental_quality, psnr
from rowcast_bench.incremental_curve import costs
from rowcast_export.export import describe, to_onnx, with_metadata
from rowcast_export.incremental_file import export_incremental
from rowcast_export.vqgan import VQGANDecoder
from torch.utils.flop_counter import FlopCounterMode

from tests.vqgan_export.conftest import TINY
from tests.vqgan_export.references import lively


@pytest.fixture(scope="module")
def decoder() -> VQGANDecoder:
    decoder = VQGANDecoder(TINY).eval()
    lively(decoder)
    return decoder


@pytest.fixture(scope="module")
def full(decoder: VQGANDecoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full") / "detokenizer.onnx"
    model = to_onnx(decoder)
    path.write_bytes(with_metadata(model, describe(model, decoder, "tiny", "ab" * 32)))
    return path


@pytest.fixture(scope="module")
def incremental(decoder: VQGANDecoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("incremental") / "incremental.onnx"
    export_incremental(decoder, path, "tiny", "ab" * 32, threads=1)
    return path


def counted_by_torch(decoder: VQGANDecoder, rows: int, cols: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        decoder(torch.zeros(1, rows, cols, dtype=torch.int64))
    return int(counter.get_total_flops())


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (7, 3)])
def test_a_full_decode_costs_what_torch_counts(
    full: Path, decoder: VQGANDecoder, rows: int, cols: int
) -> None:
    assert full_flops(full, rows, cols) == counted_by_torch(decoder, rows, cols)


def test_an_update_costs_less_than_decoding_the_rows_so_far(full: Path, incremental: Path) -> None:
    updates = update_flops(incremental, rows=12, cols=4)
    decodes = [full_flops(full, rows, 4) for rows in range(1, 13)]
    assert len(updates) == 12
    assert updates[0] > decodes[0]  # all lines are decoded, and the coarse band besides
    assert updates[-1] < decodes[-1]
    assert updates == sorted(updates)
    assert len(update_flops(incremental, rows=12, cols=4, step=2)) == 6


def test_quality_of_updates_that_are_full_decodes(full: Path, incremental: Path) -> None:
    grids = np.random.default_rng(0).integers(0, 50, (2, 8, 4))
    quality = incremental_quality(full, incremental, grids)
    assert quality.psnr_db_by_update[:3] == pytest.approx([120] * 3, abs=60)  # but for rounding
    assert min(quality.psnr_db_by_update[:3]) > max(quality.psnr_db_by_update[4:])
    assert 15 < quality.psnr_db_by_update[-1] < 60
    at_once = incremental_quality(full, incremental, grids, step=8)
    assert at_once.psnr_db > 60
    assert at_once.seam_beyond_full == pytest.approx(1, abs=1e-3)


def test_psnr() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(grey, grey) == pytest.approx(120)
    assert psnr(grey + np.uint8(10), grey) == pytest.approx(20 * np.log10(25.5))


def test_gradients_across_and_inside_rows_of_tokens() -> None:
    lines = np.array([0, 1, 2, 3, 13, 14, 15, 16, 26, 27, 28, 29], np.uint8)
    picture = np.repeat(lines[:, None, None], 5, axis=1).repeat(3, axis=2)
    assert gradients(picture, side=4) == (10.0, 1.0)


def test_a_wider_window_costs_more(tmp_path: Path) -> None:
    cost = costs(TINY, [2, 5, 40], step=1, threads=1, folder=tmp_path)
    totals = [cost[redone]["total_full_decodes"] for redone in (2, 5, 40)]
    assert totals == sorted(totals)
    assert 8.5 < totals[-1] - 1 < 10  # every row so far, each time; the coarse band besides
    worst = cost[5]["update_full_decodes_max"]
    assert worst == cost[5]["update_full_decodes"][-1] < 1
