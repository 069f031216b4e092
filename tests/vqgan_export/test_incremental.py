"""An update does what a full decode would, as far as it says; told twice, the scheme agrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rowcast_export.incremental import (
    Calibration,
    IncrementalModule,
    NotIncremental,
    Window,
    coarse_kernel,
)
from rowcast_export.incremental_calibration import calibrate, patchwork
from rowcast_export.incremental_painting import Painting, TorchUpdater
from rowcast_export.vqgan import DecoderShape, LevelShape, VQGANDecoder
from torch.nn import functional as F

from tests.vqgan_export.conftest import TINY
from tests.vqgan_export.incremental_reference import SlowPicture
from tests.vqgan_export.references import lively

ROWS, COLS = 9, 5
THREE_LEVELS = DecoderShape(
    codebook_size=50,
    code_channels=4,
    latent_channels=32,
    mid_channels=64,
    mid_attention=True,
    levels=(
        LevelShape(32, (32,), attention=False, upsample=False),
        LevelShape(64, (32, 32), attention=False, upsample=True),
        LevelShape(64, (64,), attention=True, upsample=True),
    ),
)
CLOSE = 1e-4


@pytest.fixture(scope="module")
def decoder() -> VQGANDecoder:
    """Two steps up, so 4 pixels a token; pictures that are neither black, white nor flat."""
    decoder = VQGANDecoder(THREE_LEVELS, value_range=(-1.0, 1.0)).eval()
    lively(decoder)
    return decoder


@pytest.fixture(scope="module")
def calibration(decoder: VQGANDecoder) -> Calibration:
    return calibrate(decoder)


def draw(batch: int = 2, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(rows).integers(0, 50, (batch, rows, COLS))


def full(decoder: VQGANDecoder, ids: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return decoder(torch.from_numpy(ids)).numpy()


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_first_update_is_a_full_decode(decoder: VQGANDecoder, rows: int) -> None:
    ids = draw(rows=rows)
    shown = Painting(TorchUpdater(IncrementalModule(decoder)), 5).show(ids)
    assert shown.std() > 0.1
    assert np.abs(shown - full(decoder, ids)).max() < CLOSE


def test_while_the_window_is_everything_nothing_is_approximated(decoder: VQGANDecoder) -> None:
    ids = draw()
    painting = Painting(TorchUpdater(IncrementalModule(decoder)), redone_half_rows=5)
    differences = []
    for rows in range(1, ROWS + 1):
        seen = painting.show(ids[:, :rows])
        differences.append(np.abs(seen - full(decoder, ids[:, :rows])).max())
    assert max(differences[:3]) < CLOSE  # 2 rows held, 5 half rows redone
    assert min(differences[3:]) > 10 * CLOSE


@pytest.mark.parametrize("redone", [1, 2, 5])
@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("updates", [range(1, ROWS + 1), (2, 6, 7, 9)])
def test_updates_agree_with_the_slow_reference(
    decoder: VQGANDecoder,
    calibration: Calibration,
    redone: int,
    calibrated: bool,
    updates: tuple[int, ...],
) -> None:
    ids = draw()
    given = calibration if calibrated else None
    painting = Painting(TorchUpdater(IncrementalModule(decoder, given)), redone)
    slow = SlowPicture(decoder, redone, given)
    for rows in updates:
        wanted = slow.show(torch.from_numpy(ids[:, :rows])).numpy()
        assert np.abs(painting.show(ids[:, :rows]) - wanted).max() < CLOSE, rows


def test_more_rows_redone_come_nearer_to_a_full_decode(decoder: VQGANDecoder) -> None:
    ids = draw(batch=4)
    wanted = full(decoder, ids)
    errors = []
    for redone in (1, 3, 5, 8):
        painting = Painting(TorchUpdater(IncrementalModule(decoder)), redone)
        shown = [painting.show(ids[:, :rows]) for rows in range(1, ROWS + 1)][-1]
        errors.append(float(np.square(shown - wanted).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]


@pytest.mark.parametrize(
    ("held", "rows", "redone", "window"),
    [
        (0, 1, 5, Window(0, 2, 0)),
        (2, 3, 5, Window(0, 6, 1)),
        (3, 4, 5, Window(1, 8, 2)),
        (3, 9, 5, Window(1, 18, 12)),
        (8, 9, 2, Window(14, 18, 2)),
    ],
)
def test_windows(held: int, rows: int, redone: int, window: Window) -> None:
    assert Window.of(held, rows, redone) == window
    assert Window.of(rows, rows + 1, redone).first == window.first + window.leaving


@pytest.mark.parametrize("scale", [1, 2, 4, 16])
def test_a_coarse_kernel_is_the_kernel_on_squares_averaged(scale: int) -> None:
    generator = torch.Generator().manual_seed(scale)
    kernel = torch.randn(3, 2, 3, 3, generator=generator)
    image = torch.randn(1, 2, 4, 5, generator=generator)
    squares = image.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    wanted = F.avg_pool2d(F.conv2d(squares, kernel, padding=1), scale)
    found = F.conv2d(image, coarse_kernel(kernel, scale), padding=1)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_band_with_attention_is_refused() -> None:
    levels = (replace(TINY.levels[0], attention=True), TINY.levels[1])
    with pytest.raises(NotIncremental, match=r"decoder\.up\.0 has attention"):
        IncrementalModule(VQGANDecoder(replace(TINY, levels=levels)))


def test_a_decoder_without_a_band_is_refused() -> None:
    with pytest.raises(NotIncremental, match="no upsampling"):
        IncrementalModule(VQGANDecoder(replace(TINY, levels=TINY.levels[:1])))


def test_calibrated_moments_are_nearer_than_the_coarse_ones(
    decoder: VQGANDecoder, calibration: Calibration
) -> None:
    ids = torch.from_numpy(patchwork(50)[:, :10, ::-1].copy())  # other pictures than the fit's
    with torch.no_grad():
        fine, coarse = IncrementalModule(decoder).moments(ids)
    likely = calibration.gain[:, None] * coarse + calibration.offset[:, None]
    assert fine.shape == (2, len(ids), IncrementalModule(decoder).carried_groups)
    error, before = ((each - fine).square().mean() for each in (likely, coarse))
    assert error < 0.2 * before


def test_calibration_uses_the_grids_that_are_given(
    decoder: VQGANDecoder, calibration: Calibration
) -> None:
    again = calibrate(decoder)
    assert torch.equal(again.gain, calibration.gain)
    other = calibrate(decoder, draw(batch=3))
    assert not torch.allclose(other.gain, calibration.gain, atol=1e-3)
    with pytest.raises(ValueError, match=r"grids of shape \[2, 2, 5\]: wanted"):
        calibrate(decoder, draw(rows=2))
