"""What a slot takes of a device's memory, known before any is taken."""

from __future__ import annotations

from typing import Final

import psutil
from rowcast.errors import RowcastError

from .models.graph_builder import Weights, layer_count
from .models.tensors import shape_of
from .models.text import TEXT_POSITIONS

STREAMS: Final = 2  # conditional and unconditional
ITEM_BYTES: Final = {"float32": 4, "int8": 4, "bfloat16": 2, "float16": 2}  # of a cache entry


def slot_bytes(decoder: Weights, dtype: str) -> int:
    """A picture's keys and values, of its own tokens and of its text, in both streams."""
    positions, width = shape_of(decoder, "embed_positions.weight")
    entries = STREAMS * layer_count(decoder) * 2 * (positions + TEXT_POSITIONS) * width
    return ITEM_BYTES[dtype] * entries


def check_memory(decoder: Weights, slots: int, device: str, dtype: str) -> None:
    """Raises RowcastError where the slots' caches are more than the device has free, saying how
    many fit."""
    free = _free_bytes(device)
    each = slot_bytes(decoder, dtype)
    if free is None or slots * each <= free:
        return
    raise RowcastError(
        f"{slots} slots of {each / 1e6:.0f} MB take {slots * each / 1e9:.1f} GB, but {device} has "
        f"{free / 1e9:.1f} GB free: try --slots {max(1, free // each)}"
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
