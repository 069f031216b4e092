"""What a slot takes of a device's memory, known before any is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import psutil
from rowcast.errors import RowcastError

from .models.text import TEXT_POSITIONS
from .network.cache_kind import CacheKind
from .network.graph_builder import Weights, layer_count
from .network.self_attention import STREAMS, streams_of
from .network.tensors import shape_of

ITEM_BYTES: Final = {"float32": 4, "int8": 4, "bfloat16": 2, "float16": 2}  # of a cache entry


@dataclass(frozen=True)
class SlotBytes:
    """What a picture takes of a device's memory: for its own tokens, and for its text."""

    tokens: int
    text: int

    @property
    def all(self) -> int:
        return self.tokens + self.text


def slot_bytes(decoder: Weights, dtype: str, cache: CacheKind | None) -> SlotBytes:
    """``cache`` is what ONNX Runtime's graph remembers; None where torch draws, which has keys and
    values of both streams in every layer, of the picture and of the text."""
    positions, width = shape_of(decoder, "embed_positions.weight")
    layers = layer_count(decoder)
    keys_and_values = 2 * width * ITEM_BYTES[dtype]  # of one token in a layer and stream
    if cache is None:
        each = STREAMS * layers * keys_and_values
        return SlotBytes(each * positions, each * TEXT_POSITIONS)
    streams = sum(map(streams_of, range(layers)))  # and the empty text is shared by all slots
    remembered = keys_and_values // 2 if cache is CacheKind.STATES else keys_and_values
    bias = TEXT_POSITIONS * ITEM_BYTES[dtype]
    return SlotBytes(
        streams * remembered * positions, layers * keys_and_values * TEXT_POSITIONS + bias
    )


def check_memory(
    decoder: Weights, slots: int, device: str, dtype: str, cache: CacheKind | None
) -> None:
    """Raises RowcastError where the slots' caches are more than the device has free, saying how
    many fit."""
    free = _free_bytes(device)
    each = slot_bytes(decoder, dtype, cache).all
    if free is None or slots * each <= free:
        return
    remedy = f"try --slots {max(1, free // each)}"
    if cache is CacheKind.KEYS_AND_VALUES:
        smaller = slot_bytes(decoder, dtype, CacheKind.STATES).all
        remedy += f", or --cache {CacheKind.STATES}, of which {free // smaller} fit"
    raise RowcastError(
        f"{slots} slots of {each / 1e6:.0f} MB take {slots * each / 1e9:.1f} GB, but {device} has "
        f"{free / 1e9:.1f} GB free: {remedy}"
    )


def _free_bytes(device: str) -> int | None:
    """None where the device does not tell."""
    if device == "cpu":
        available: int = psutil.virtual_memory().available
        return available
    if device.startswith("cuda"):
        from .engine.devices_torch import free_bytes

        return free_bytes(device)
    return None
