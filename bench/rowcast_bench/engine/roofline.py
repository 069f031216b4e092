"""The roofline of a decoder step (Williams, Waterman and Patterson, 2009): what a machine could do.

A step reads every weight once, and each picture's caches whole, for attention runs over all
positions; and it multiplies. It can take no less than the longer of both, at the rates at which
this machine reads memory and multiplies large matrices, measured in the same run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rowcast_server.models.loading import Transformer
from rowcast_server.network.facts import STREAMS, layer_count, streams_of
from rowcast_server.network.tensors import shape_of

FLOAT_BYTES: Final = 4
OPERATIONS: Final = 2  # of a multiply-add


@dataclass(frozen=True)
class Work:
    """What a step of a float32 decoder must do: bytes that it reads once, and of each picture bytes
    of caches and multiply-adds."""

    weight_bytes: int
    cache_bytes: int
    multiply_adds: int

    def seconds(self, pictures: int, gigabytes: float, gigaflops: float) -> float:
        """The least time of a step of so many pictures, at these rates a second."""
        read = (self.weight_bytes + pictures * self.cache_bytes) / gigabytes
        multiplied = pictures * OPERATIONS * self.multiply_adds / gigaflops
        return max(read, multiplied) / 1e9


def work_of(model: Transformer, cache_bytes: int) -> Work:
    """A step of this model; ``cache_bytes`` are those of a picture, of all its positions.

    Not counted are the token tables, of which a step takes a row, and what keys and values of the
    text are made with, once a picture. The last product is of one stream, and so is the first
    layer's attention; all else is of both.
    """
    decoder = model.decoder
    once = both = 0
    for name in decoder:
        shape = decoder.shape(name)
        is_text = "encoder_attn.k_proj" in name or "encoder_attn.v_proj" in name
        if len(shape) != 2 or name.startswith("embed_") or is_text:
            continue
        if name == "lm_head.weight":
            once += model.grid.codebook_size * shape[1]
        elif name.startswith("layers.0.self_attn"):
            once += shape[0] * shape[1]
        else:
            both += shape[0] * shape[1]
    positions, width = shape_of(decoder, "embed_positions.weight")
    streams = sum(map(streams_of, range(layer_count(decoder))))
    attention = streams * 2 * positions * width  # scores, and values by their weights
    return Work(FLOAT_BYTES * (once + both), cache_bytes, once + STREAMS * both + attention)
