"""Noise: the published generator, the same integers in numpy and torch, Gumbel-distributed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rowcast_server.engine.noise import gumbel, noise_words, philox, philox_torch

# Known answers of Philox4x32-10 from the Random123 distribution: counter, key, output.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip

VECTORS = Path(__file__).parents[2] / "vectors" / "noise.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text("utf-8"))["cases"]


def _words(text: str) -> NDArray[np.uint64]:
    return np.array([[int(word, 16)] for word in text.split()], np.uint64)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_answers(counter: str, key: str, expected: str) -> None:
    assert (philox(_words(counter), _words(key)) == _words(expected)).all()


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_in_torch_gives_them_too(counter: str, key: str, expected: str) -> None:
    as_torch = [torch.from_numpy(_words(text).astype(np.int64)) for text in (counter, key)]
    assert (philox_torch(*as_torch).numpy() == _words(expected)).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed {case['seed']}")
def test_golden_words(case: dict[str, Any]) -> None:
    codes = np.array(case["codes"])
    words = noise_words(case["seed"], case["image"], case["position"], codes)
    assert [f"{word:08x}" for word in words] == case["words"]


def test_torch_gives_the_same_integers_as_numpy() -> None:
    random = np.random.default_rng(0)
    counter = random.integers(0, 2**32, (4, 1_000), dtype=np.uint64)
    key = random.integers(0, 2**32, (2, 1_000), dtype=np.uint64)
    in_torch = philox_torch(
        torch.from_numpy(counter.astype(np.int64)), torch.from_numpy(key.astype(np.int64))
    )
    assert (in_torch.numpy() == philox(counter, key)).all()


def test_torch_takes_a_key_for_each_row() -> None:
    counter = torch.arange(4 * 3 * 5).view(4, 3, 5)
    key = torch.tensor([[1, 2, 2**32 - 1], [3, 4, 5]])
    together = philox_torch(counter, key[:, :, None])
    for row in range(3):
        alone = philox_torch(counter[:, row], key[:, row, None].expand(2, 5))
        assert (together[:, row] == alone).all()


def test_a_code_has_the_same_noise_whatever_the_other_candidates() -> None:
    together = noise_words(7, 1, 30, np.arange(500))
    alone = noise_words(7, 1, 30, np.array([321]))
    assert together[321] == alone[0]


@pytest.mark.parametrize("other", [(8, 1, 30), (7, 2, 30), (7, 1, 31)])
def test_seed_image_and_position_each_change_the_noise(other: tuple[int, int, int]) -> None:
    codes = np.arange(100)
    assert not (noise_words(7, 1, 30, codes) == noise_words(*other, codes)).any()


def test_the_largest_seed_is_a_seed() -> None:
    assert noise_words(2**32 - 1, 65_535, 4_095, np.arange(4)).dtype == np.uint32


def test_gumbel_noise_is_finite_float32_at_both_ends() -> None:
    ends = gumbel(np.array([0, 2**32 - 1], np.uint32))
    assert ends.dtype == np.float32
    assert np.isfinite(ends).all()


def test_gumbel_noise_has_the_mean_and_variance_of_its_distribution() -> None:
    noise = gumbel(noise_words(0, 0, 0, np.arange(200_000)))
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.01)
    assert noise.var() == pytest.approx(np.pi**2 / 6, rel=0.02)
