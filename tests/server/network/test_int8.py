"""Eight-bit matrices: near their originals, whatever the size and the values."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast_server.network.int8 import (
    BLOCK,
    ZERO,
    quantised,
    scales,
)


@pytest.mark.parametrize("inputs", [1, 64, 100, 2730])
def test_values_come_back_within_half_a_step(inputs: int) -> None:
    weight = np.random.default_rng(inputs).standard_normal((3, inputs)).astype(np.float32)
    step = scales(weight)
    values = (quantised(weight).astype(np.float32) - ZERO) * step[:, :, None]
    back = values.reshape(3, -1)
    allowed = np.repeat(step, BLOCK, axis=1)[:, :inputs] * 0.501
    assert (np.abs(back[:, :inputs] - weight) <= allowed).all()
    assert (back[:, inputs:] == 0).all()


def test_a_block_of_zeros_stays_zero() -> None:
    weight = np.zeros((2, BLOCK), np.float32)
    assert (quantised(weight) == ZERO).all()
    assert (scales(weight) == 1).all()
