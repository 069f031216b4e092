"""Quantisation to eight bits, in the layout of ONNX Runtime's MatMulNBits.

Blocks of 64 inputs of an output share a scale; values are offset by 128. With blocks of 64,
products were measured to give a row the same bits in any company (D-39).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BITS: Final = 8
BLOCK: Final = 64  # inputs
ZERO: Final = 128  # the operator's default zero point


def _blocks(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """[outputs, inputs] -> [outputs, blocks, 64], the last block padded with zeros."""
    outputs, inputs = weight.shape
    padded = np.zeros((outputs, -(-inputs // BLOCK) * BLOCK), np.float32)
    padded[:, :inputs] = weight
    return padded.reshape(outputs, -1, BLOCK)


def _steps(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    largest = np.abs(blocks).max(axis=2)
    return np.where(largest > 0, largest / np.float32(127), np.float32(1))


def scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scale of each block, float32 [outputs, blocks]."""
    return _steps(_blocks(weight))


def quantised(weight: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The matrix [outputs, inputs] in units of its blocks' scales, uint8 [outputs, blocks, 64]."""
    blocks = _blocks(weight)
    steps = np.rint(blocks / _steps(blocks)[:, :, None]) + ZERO
    values: NDArray[np.uint8] = steps.astype(np.uint8)
    return values
