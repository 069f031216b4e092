"""The small decoder: its sizes follow from the full one's, and nothing it paints is far away."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from rowcast_export.preview.decoder import PreviewDecoder, PreviewShape
from rowcast_export.vqgan import DecoderShape, LevelShape, VQGANDecoder

from tests.support.decoders import TINY

REACH = 8  # tokens
MOST_PARAMETERS = 2_500_000


def small(full: DecoderShape) -> PreviewDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PreviewDecoder(PreviewShape.of(full)).eval()


@pytest.mark.parametrize("doublings", range(6))
def test_a_token_has_as_many_pixels_as_the_full_decoders(doublings: int) -> None:
    level = LevelShape(32, (32,), attention=False, upsample=True)
    levels = (replace(level, upsample=False), *[level] * doublings)
    preview = small(replace(TINY, levels=levels))
    side = 2**doublings
    with torch.inference_mode():
        pixels = preview(torch.zeros(2, 3, 5, dtype=torch.int64))
    assert preview.shape.pixels_per_token == side
    assert pixels.shape == (2, 3, 3 * side, 5 * side)
    assert 0 <= pixels.min() <= pixels.max() <= 1


def test_at_dall_es_size_it_is_small() -> None:
    """16,384 codes and 256x256 pixels: the table counts too."""
    level = LevelShape(32, (32,), attention=False, upsample=True)
    full = replace(
        TINY, codebook_size=16_384, levels=(replace(level, upsample=False), *[level] * 4)
    )
    assert sum(each.numel() for each in small(full).parameters()) < MOST_PARAMETERS


def test_a_pixel_depends_on_tokens_near_it_alone() -> None:
    preview = small(TINY)
    ids = torch.randint(0, TINY.codebook_size, (1, 2, 40), generator=torch.manual_seed(1))
    changed = ids.clone()
    changed[0, :, 0] = (ids[0, :, 0] + 1) % TINY.codebook_size
    with torch.inference_mode():
        apart = (preview(ids) - preview(changed)).abs().amax(dim=(0, 1, 2))  # [pixels across]
    side = TINY.pixels_per_token
    assert apart[:side].min() > 0
    assert apart[(REACH + 1) * side :].max() < 1e-6


def test_the_table_begins_as_what_the_full_decoder_looks_up(module: VQGANDecoder) -> None:
    """Four numbers a code there: four components here, from which those four follow."""
    preview = small(TINY)
    preview.begin_from(module)
    with torch.inference_mode():
        table = preview.table.weight
        looked_up = module.post_quant_conv(module.embedding.weight[:, :, None, None])[:, :, 0, 0]
        assert torch.count_nonzero(table[:, 4:]) == 0
        variances = table[:, :4].var(dim=0)
        assert list(variances) == sorted(variances, reverse=True)
        assert table[:, :4].std() == pytest.approx(1, abs=1e-3)
        fitted = torch.linalg.lstsq(table[:, :4], looked_up - looked_up.mean(dim=0)).solution
        rebuilt = table[:, :4] @ fitted + looked_up.mean(dim=0)
    torch.testing.assert_close(rebuilt, looked_up, atol=1e-4, rtol=1e-4)


def test_a_wide_codebook_keeps_its_largest_components() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        full = VQGANDecoder(replace(TINY, codebook_size=200, code_channels=64, latent_channels=64))
    preview = small(full.shape)
    preview.begin_from(full)
    assert torch.isfinite(preview.table.weight).all()
    assert (preview.table.weight.std(dim=0) > 0).all()
