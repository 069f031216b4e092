"""`sampling.draw` on a device, for many slots at once, each with parameters of its own.

The same float32 logits give the same id as there: each operation is one IEEE operation, and noise
comes from a table of numpy's own values. top-p alone sums in another order: where a sum of
probabilities meets top_p within its rounding, the last candidate may be in or out. It must not know
where logits come from, and never reads a value to the host.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rowcast.errors import RowcastError
from torch import Tensor

from ..network.facts import Sampling
from .devices_torch import Device
from .noise import gumbel, noise_words, philox_torch
from .request import PictureRequest
from .runner import NOT_DRAWN
from .sampling import min_p_threshold

# Up to here the k-th best logit is found without sorting all; DALL-E Mini's own k.
LARGEST_QUICK_TOP_K: Final = 256
NEVER: Final = float("-inf")
WORD_BITS, NOISE_BITS = 32, 23
DTYPES: Final = {float: torch.float32, int: torch.int64}
NUMPY: Final = {torch.float32: np.float32, torch.int64: np.int64}


def gumbel_table() -> NDArray[np.float32]:
    """The noise of every word, [2^23] float32 by the word's upper 23 bits: 34 MB.

    torch's log and numpy's differ in the last bit of 32 % of these values, and a GPU's from both.
    """
    size = 1 << NOISE_BITS
    table = np.empty(size, np.float32)
    for first in range(0, size, 1 << 20):  # in pieces: `gumbel` needs several times their size
        upper = np.arange(first, first + (1 << 20), dtype=np.uint32)
        table[upper] = gumbel(upper << np.uint32(WORD_BITS - NOISE_BITS))
    return table


def _noise(table: Tensor, key: Tensor, positions: Tensor, codes: Tensor) -> Tensor:
    """The entries of the `gumbel_table` of keys [n, 2], positions [n] and codes [codes]: [n,
    codes]."""
    place = positions[:, None].expand(-1, len(codes))
    code = codes.expand(len(positions), -1)
    zeros = torch.zeros_like(code)
    counter = torch.stack([code, place, zeros, zeros])
    words = philox_torch(counter, key.T[:, :, None])[0]
    return table[words >> (WORD_BITS - NOISE_BITS)]


class TorchSampler:
    """Draws for slots 0 … n-1. ``codes`` is the size of the codebook.

    Raises RowcastError where the device does not compute the noise that numpy does.
    """

    def __init__(self, slots: int, codes: int, device: Device) -> None:
        self._device, self._codes = device, codes
        # Each parameter of each slot, in places that stay; top_p is infinite and top_k 0 where all
        # codes are kept, and of min_p it is the threshold.
        self._parameters: dict[str, Tensor] = {}
        for parameter in fields(Sampling):
            dtype = DTYPES[type(parameter.default)]
            self._parameters[parameter.name] = torch.ones(slots, dtype=dtype, device=device.torch)
        self._key = torch.zeros((slots, 2), dtype=torch.int64, device=device.torch)  # seed, image
        self._to_be_sorted = np.zeros(slots, np.bool_)
        self._all_codes = torch.arange(codes, device=device.torch)
        self._table = torch.empty(1 << NOISE_BITS, dtype=torch.float32, device=device.torch)
        device.upload(gumbel_table(), self._table)
        self._noise = device.fused(_noise)
        self._check_noise()

    def open(self, slot: int, request: PictureRequest) -> None:
        sampling = request.sampling
        top_k = sampling.top_k if 0 < sampling.top_k < self._codes else 0
        top_p = sampling.top_p if sampling.top_p < 1.0 else np.inf
        kept = {"top_k": top_k, "top_p": top_p, "min_p": min_p_threshold(sampling.min_p)}
        for name, value in (asdict(sampling) | kept).items():
            tensor = self._parameters[name]
            self._device.upload(np.array(value, NUMPY[tensor.dtype]), tensor[slot])
        self._device.upload(np.array([request.seed, request.image], np.int64), self._key[slot])
        self._to_be_sorted[slot] = top_k > LARGEST_QUICK_TOP_K or sampling.top_p < 1.0

    @property
    def guidance(self) -> Tensor:
        """The guidance of each slot, [slots] float32."""
        return self._parameters["guidance"]

    def move(self, source: int, destination: int) -> None:
        for tensor in (*self._parameters.values(), self._key):
            tensor[destination] = tensor[source]
        self._to_be_sorted[destination] = self._to_be_sorted[source]

    def must_sort(self, slots: int) -> bool:
        """True if a slot of 0 … slots - 1 has parameters that `draw` can apply only with
        ``sort``."""
        return bool(self._to_be_sorted[:slots].any())

    def noise(self, positions: Tensor) -> Tensor:
        """Gumbel noise of all codes at positions [n] of slots 0 … n-1, [n, codes] float32."""
        return self._noise(self._table, self._key[: len(positions)], positions, self._all_codes)

    def draw(self, logits: Tensor, noise: Tensor, sort: bool) -> Tensor:
        """Ids [n] of slots 0 … n-1, NOT_DRAWN where logits are not finite.

        Guided ``logits`` and ``noise`` are [n, codes] float32. Without ``sort``, `must_sort` must
        be False for all n.
        """
        kept = logits >= self._threshold(logits, sort)
        best = logits.amax(-1, keepdim=True)
        scaled = (logits - best) / self._parameters["temperature"][: len(logits), None]
        if sort:
            kept = kept & self._in_top_p(scaled.masked_fill(~kept, NEVER))
        kept = kept & (scaled >= self._parameters["min_p"][: len(logits), None])
        # Candidates alone compete; of equals the first wins, as in numpy.
        drawn = (scaled + noise).masked_fill(~kept, NEVER).argmax(-1)
        return drawn.masked_fill(~torch.isfinite(logits).all(-1), NOT_DRAWN)

    def _threshold(self, logits: Tensor, sort: bool) -> Tensor:
        """The logit of the k-th best code of each slot, [n, 1]; -inf where all are kept."""
        top_k = self._parameters["top_k"][: len(logits), None]
        if sort:
            ordered = logits.sort(-1, descending=True).values
        else:
            ordered = logits.topk(min(LARGEST_QUICK_TOP_K, self._codes)).values
        kth = ordered.gather(1, (top_k - 1).clamp(0, ordered.shape[1] - 1))
        return kth.masked_fill(top_k == 0, NEVER)

    def _in_top_p(self, scaled: Tensor) -> Tensor:
        """The smallest set of codes whose probability reaches top_p (nucleus), bool [n, codes]."""
        ordered, order = scaled.sort(dim=-1, descending=True, stable=True)
        probabilities = ordered.exp()
        reached = probabilities.cumsum(-1) / probabilities.sum(-1, keepdim=True)
        kept = torch.ones_like(reached, dtype=torch.bool)
        kept[:, 1:] = reached[:, :-1] < self._parameters["top_p"][: len(scaled), None]
        return torch.zeros_like(kept).scatter(1, order, kept)

    def _check_noise(self) -> None:
        """Compare with numpy's noise on this very device: a picture's noise is part of its
        revision."""
        seed, image, position = 0xFFFF_FFFF, 65_535, 4_095
        self._device.upload(np.array([seed, image], np.int64), self._key[0])
        place = torch.full((1,), position, dtype=torch.int64, device=self._device.torch)
        expected = gumbel(noise_words(seed, image, position, np.arange(self._codes)))
        if not np.array_equal(self.noise(place)[0].cpu().numpy(), expected):
            raise RowcastError(
                f"{self._device.torch} computes other noise than numpy, so its pictures would not "
                "be those of their seeds; serve with --device cpu, and please report it"
            )
