"""Quality is measured on prompts that training never saw, with the files that ship."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from rowcast.pixels.detokenizer import Detokenizer
from rowcast_bench.decode.files import (
    F16,
    decoder_files,
    held_out,
    held_out_grids,
    held_out_prompts,
)
from rowcast_bench.decode.quality import qualities
from rowcast_bench.decode.schemes import client_schemes
from rowcast_export.preview.decoder import PreviewDecoder, PreviewShape
from rowcast_server.models.loading import LoadedModel, load

from training.captions import sample_captions
from training.evaluate import held_out_prompts as drawn_prompts

MOST_PARAMETERS = 2_500_000
MOST_HALF_BYTES = 5_000_000
TAUGHT = 2000, 1  # prompts and seed of training/README.md


@pytest.fixture(scope="module")
def postcard() -> LoadedModel:
    return load("postcard")


@pytest.fixture(scope="module")
def grids(postcard: LoadedModel) -> NDArray[np.int64]:
    return held_out_grids(postcard, 4, threads=1)


def test_at_real_size_the_preview_is_small() -> None:
    count = sum(each.numel() for each in PreviewDecoder(PreviewShape.of(F16)).parameters())
    assert count <= MOST_PARAMETERS
    assert 2 * count <= MOST_HALF_BYTES


def test_the_prompts_are_those_of_combinations_held_out() -> None:
    prompts = held_out_prompts()
    assert prompts == [prompt for prompt, _, _ in drawn_prompts(len(prompts), 20_261_124)]
    assert not set(prompts) & set(sample_captions(*TAUGHT))
    asked = list(held_out(len(prompts) + 1))
    assert [prompt for prompt, _ in asked] == [*prompts, prompts[0]]
    assert len({seed for _, seed in asked}) == len(asked)


def test_grids_are_drawn_anew_and_the_same_each_time(
    postcard: LoadedModel, grids: NDArray[np.int64]
) -> None:
    assert grids.shape == (4, 16, 16)
    assert np.array_equal(held_out_grids(postcard, 1, threads=1)[0], grids[0])


def test_what_ships_is_near_the_full_decoder(
    postcard: LoadedModel, grids: NDArray[np.int64]
) -> None:
    """26 dB is the bar; 100 grids have a median of 37.8."""
    files = decoder_files(postcard.detokenizer, {})
    schemes = [each for each in client_schemes(files, 1) if each.name in ("palette", "preview")]
    found = qualities(schemes, Detokenizer(files.full, 1), grids)
    preview, palette = found["preview"], found["palette"]
    assert preview.psnr_db_of_whole > 32
    assert preview.psnr_db_of_whole >= preview.psnr_db_of_whole_worst
    assert preview.psnr_db_of_whole_worst > palette.psnr_db_of_whole + 5
