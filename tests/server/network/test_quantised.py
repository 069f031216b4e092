"""Matrices of eight and four bits: near their originals, whatever the size and the values."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from rowcast_server.network.quantised import BLOCKS, quantised, scales


def steps_from_zero(weight: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """[outputs, blocks, block]."""
    stored = quantised(weight, bits)
    if bits == 4:
        stored = np.stack([stored & 15, stored >> 4], axis=-1).reshape(*stored.shape[:2], -1)
    steps: NDArray[np.float32] = stored.astype(np.float32) - np.float32(2 ** (bits - 1))
    return steps


@pytest.mark.parametrize("bits", BLOCKS)
@pytest.mark.parametrize("inputs", [1, 64, 100, 2730])
def test_values_come_back_within_half_a_step(inputs: int, bits: int) -> None:
    weight = np.random.default_rng(inputs).standard_normal((3, inputs)).astype(np.float32)
    step = scales(weight, bits)
    back = (steps_from_zero(weight, bits) * step[:, :, None]).reshape(3, -1)
    allowed = np.repeat(step, BLOCKS[bits], axis=1)[:, :inputs] * 0.501
    assert (np.abs(back[:, :inputs] - weight) <= allowed).all()
    assert (back[:, inputs:] == 0).all()


@pytest.mark.parametrize("bits", BLOCKS)
def test_a_block_of_zeros_stays_zero(bits: int) -> None:
    weight = np.zeros((2, BLOCKS[bits]), np.float32)
    assert (steps_from_zero(weight, bits) == 0).all()
    assert (scales(weight, bits) == 1).all()
