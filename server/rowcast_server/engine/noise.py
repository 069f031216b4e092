"""Counter-based random numbers, the same integers in numpy and torch: by seed, image, position,
code.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
A token's noise depends on its own key and counter alone, so neither the company in the batch, nor
`stop_row`, `prefix`, speculative decoding or a restart can change it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import torch

MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
WEYL: Final = (0x9E3779B9, 0xBB67AE85)
ROUNDS: Final = 10
LOW: Final = 0xFFFFFFFF


def philox(counter: NDArray[np.uint64], key: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Philox4x32-10 in numpy.

    ``counter`` [4, …] and ``key`` [2, …] hold 32-bit words in uint64; returns [4, …] uint32.
    """
    low = np.uint64(LOW)
    shift = np.uint64(32)
    a, b, c, d = counter
    first, second = key
    for _ in range(ROUNDS):
        product_a = a * np.uint64(MULTIPLIERS[0])
        product_c = c * np.uint64(MULTIPLIERS[1])
        a, b, c, d = (
            (product_c >> shift) ^ b ^ first,
            product_c & low,
            (product_a >> shift) ^ d ^ second,
            product_a & low,
        )
        first = (first + np.uint64(WEYL[0])) & low
        second = (second + np.uint64(WEYL[1])) & low
    return np.stack([a, b, c, d]).astype(np.uint32)


def philox_torch(counter: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Philox4x32-10 in torch: 32-bit words in int64, [4, …] and [2, …] -> [4, …] int64.

    torch has no unsigned 64-bit product; the signed one wraps to the same bits, and the sign that
    its arithmetic shift drags along is masked off. On a GPU each operation costs its launch: words
    go in pairs, and one mask a round cuts all that stands above their 32 bits.
    """
    import torch

    left, right = counter[0::2], counter[1::2]
    turns = torch.arange(ROUNDS, device=key.device).view(-1, *[1] * (key.dim() - 1))
    keys = torch.stack([key[word] + turns * WEYL[word] for word in (0, 1)], dim=1)
    for turn in range(ROUNDS):
        product = torch.stack([left[1] * MULTIPLIERS[1], left[0] * MULTIPLIERS[0]])
        left = ((product >> 32) ^ right ^ keys[turn]) & LOW
        right = product  # its low words
    right = right & LOW
    return torch.stack([left[0], right[0], left[1], right[1]])


def noise_words(
    seed: ArrayLike, image: ArrayLike, position: ArrayLike, codes: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """One 32-bit word for each candidate code: key (seed, image), counter (code, position, 0, 0).

    ``codes`` is [candidates] int64, the others of that shape too, or one for all; returns
    [candidates] uint32.
    """
    zeros = np.zeros(codes.shape, np.uint64)
    seeds, images, positions = (
        zeros + np.asarray(value, np.uint64) for value in (seed, image, position)
    )
    counter = np.stack([codes.astype(np.uint64), positions, zeros, zeros])
    key = np.stack([seeds, images])
    words: NDArray[np.uint32] = philox(counter, key)[0]
    return words


def gumbel(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Standard Gumbel noise, float32, from 32-bit words; every value is finite (-2.9 … 16.7).

    23 bits: with 24, the largest uniform number would round to 1 in float32.
    """
    uniform = ((words >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2**-23)
    noise: NDArray[np.float32] = -np.log(-np.log(uniform))
    return noise
