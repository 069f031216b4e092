"""What is measured of previews: files as clients run them, prompts that training never saw."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rowcast
from rowcast.detokenizer import Detokenizer
from rowcast_bench.decode_files import F16
from rowcast_bench.preview import (
    held_out_grids,
    held_out_prompts,
    postcard_files,
    postcard_quality,
    preview_cost,
    preview_quality,
    sheet,
    write_random_pair,
)
from rowcast_export.preview import PreviewDecoder, PreviewShape

from tests.support.servers import running_server
from tests.vqgan_export.conftest import TINY
from training.captions import sample_captions
from training.evaluate import held_out_prompts as drawn_prompts

MOST_PARAMETERS = 2_500_000
MOST_HALF_BYTES = 5_000_000
TAUGHT = 2000, 1  # prompts and seed of training/README.md


def test_at_real_size_the_preview_is_small() -> None:
    count = PreviewDecoder(PreviewShape.of(F16)).parameter_count
    assert count <= MOST_PARAMETERS
    assert 2 * count <= MOST_HALF_BYTES


def test_both_decoders_are_timed() -> None:
    cost = preview_cost(TINY, rows=3, cols=4, threads=1, repeats=2)
    assert (cost.rows, cost.cols, cost.threads) == (3, 4, 1)
    assert cost.full_ms > 0 < cost.preview_ms
    assert cost.preview_bytes > 4 * cost.preview_parameters


def test_quality_is_measured_in_uint8(tmp_path: Path) -> None:
    full, small, _ = write_random_pair(TINY, tmp_path)
    grids = np.random.default_rng(0).integers(0, TINY.codebook_size, (3, 4, 4))
    palette = tmp_path / "palette.npy"
    np.save(palette, np.zeros((TINY.codebook_size, 1, 1, 3), np.uint8))
    same = preview_quality(full, full, grids, palette, threads=1)
    assert same.grids == 3
    assert same.preview_psnr_db == pytest.approx(120)
    assert same.palette_psnr_db is not None
    assert same.palette_psnr_db < 30
    other = preview_quality(full, small, grids, threads=1)
    assert other.preview_psnr_db_worst <= other.preview_psnr_db < 60
    assert math.isfinite(other.preview_psnr_db_of_mean_square)
    assert other.palette_psnr_db is None
    page = sheet(full, small, palette, grids)
    assert page.size == (2 * (3 * 8 + 8), 8 + 4 + 8)  # the third has no partner


def test_the_prompts_are_those_of_combinations_held_out() -> None:
    prompts = held_out_prompts()
    assert prompts == [prompt for prompt, _, _ in drawn_prompts(len(prompts), 20_261_124)]
    assert not set(prompts) & set(sample_captions(*TAUGHT))


def test_what_ships_is_near_the_full_decoder() -> None:
    """26 dB is the bar; 200 grids have a median of 33.6."""
    found = postcard_quality(8, threads=1)
    assert found.preview_psnr_db > 28
    assert found.palette_psnr_db is not None
    assert found.preview_psnr_db_worst > found.palette_psnr_db + 5


def test_a_client_shows_it() -> None:
    with (
        running_server("postcard") as server,
        rowcast.connect_sync(server.ws_url, quality="preview") as client,
    ):
        [done] = client.pictures("a red house at sunset", seed=1)
        assert client.tiers == ("palette uint8", "preview fp16 on cpu")
    assert done.image is not None
    preview = Detokenizer(postcard_files()["preview"])
    assert np.array_equal(np.asarray(done.image), preview.decode(done.picture.grid[None])[0])


def test_grids_are_drawn_anew_and_the_same_each_time() -> None:
    grids = held_out_grids(2, threads=1)
    assert grids.shape == (2, 16, 16)
    assert np.array_equal(held_out_grids(1, threads=1)[0], grids[0])
