"""PSNR and SSIM of pictures for which they are known."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast_bench.decode.similarity import psnr, ssim

GREY = np.full((16, 24, 3), 100, np.uint8)
C1, C2 = 2.55**2, 7.65**2


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 24, 3), np.uint8)


def test_psnr() -> None:
    assert psnr(GREY, GREY) == pytest.approx(120)
    assert psnr(GREY + np.uint8(10), GREY) == pytest.approx(20 * np.log10(25.5))


def test_ssim_of_equal_pictures_is_1() -> None:
    assert ssim(noise(), noise()) == pytest.approx(1)
    assert ssim(noise()[:3], noise()[:3]) == pytest.approx(1)  # lower than the window


def test_ssim_of_flat_pictures_is_that_of_their_luminance() -> None:
    wanted = (2 * 100 * 150 + C1) / (100**2 + 150**2 + C1)
    assert ssim(GREY, GREY + np.uint8(50)) == pytest.approx(wanted)


def test_ssim_of_a_negative_is_below_0_and_of_noise_about_0() -> None:
    assert ssim(noise(), 255 - noise()) < -0.5
    assert abs(ssim(noise(), noise(1))) < 0.1


def test_ssim_agrees_with_the_formula_written_out_for_each_pixel() -> None:
    first = noise()
    second = (0.5 * first + 0.5 * noise(1)).astype(np.uint8)
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(window, window) / window.sum() ** 2
    wide = [
        np.pad(each.astype(float), ((5, 5), (5, 5), (0, 0)), mode="symmetric")
        for each in (first, second)
    ]
    values = []
    for y, x, channel in np.ndindex(first.shape):
        a, b = (each[y : y + 11, x : x + 11, channel] for each in wide)
        mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
        variance_a, variance_b = (
            (weights * (each - mean) ** 2).sum() for each, mean in ((a, mean_a), (b, mean_b))
        )
        covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
        values.append(
            (2 * mean_a * mean_b + C1)
            * (2 * covariance + C2)
            / ((mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2))
        )
    assert ssim(first, second) == pytest.approx(np.mean(values))
    assert ssim(second, first) == pytest.approx(np.mean(values))
