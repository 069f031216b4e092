"""Memory that slots take on a device, computed before any is taken."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import psutil
from rowcast.errors import RowcastError

from .families.janus.sizes import GRID_SIDE, TEXT_PLACES, JanusSizes, is_janus
from .network.facts import STREAMS, TEXT_POSITIONS, CacheKind, Weights, layer_count, streams_of
from .network.tensors import shape_of
from .placement import Placement

logger = logging.getLogger(__name__)

JANUS_TOKENS: Final = GRID_SIDE**2
ITEM_BYTES: Final = {
    "float32": 4,
    "int8": 4,
    "int4": 4,
    "bfloat16": 2,
    "float16": 2,
}  # of a cache entry


@dataclass(frozen=True)
class SlotBytes:
    """Bytes that a slot takes on a device, for its own tokens and for its text."""

    tokens: int
    text: int

    @property
    def all(self) -> int:
        return self.tokens + self.text


def slot_bytes(decoder: Weights, placement: Placement, tokens: int = JANUS_TOKENS) -> SlotBytes:
    """Bytes of a slot's caches. Of a picture's ``tokens`` no tensor of Janus tells.

    torch caches keys and values of both streams in every layer, of the picture and of the text;
    ONNX Runtime's graphs cache less of the text, and of the picture as `Placement.cache` says.
    """
    item = ITEM_BYTES[placement.dtype]
    if is_janus(decoder):
        sizes = JanusSizes.of(decoder)
        each = sizes.slot_values * item
        return SlotBytes(each * tokens, each * (TEXT_PLACES - 1))
    positions, width = shape_of(decoder, "embed_positions.weight")
    layers = layer_count(decoder)
    keys_and_values = 2 * width * item  # of one token in a layer and stream
    if not placement.by_onnx:
        each = STREAMS * layers * keys_and_values
        return SlotBytes(each * positions, each * TEXT_POSITIONS)
    streams = sum(map(streams_of, range(layers)))  # and the empty text is shared by all slots
    by_states = placement.cache is CacheKind.STATES
    cached = keys_and_values // 2 if by_states else keys_and_values
    text = (layers * keys_and_values + item) * TEXT_POSITIONS
    return SlotBytes(streams * cached * positions, text)


def with_caches_that_fit(
    placements: Sequence[Placement], decoder: Weights, slots: int
) -> tuple[Placement, ...]:
    """The same placements, but caching states if the CPU has too little free for keys and values
    of all slots; the log says so."""
    kept = tuple(placements)
    states = tuple(replace(placement, cache=CacheKind.STATES) for placement in placements)
    if not kept[0].by_onnx or (free := _free_bytes(kept[0].device)) is None:
        return kept
    needed, less = (
        slots * sum(slot_bytes(decoder, placement).all for placement in each)
        for each in (kept, states)
    )
    if not less <= free < needed:
        return kept
    logger.warning(
        "%d slots' keys and values take %.1f GB, %.1f GB are free: caching states instead (--cache "
        "states), which take %.1f GB and are slower",
        slots,
        needed / 1e9,
        free / 1e9,
        less / 1e9,
    )
    return states


def check_memory(
    decoder: Weights, slots: int, placement: Placement, tokens: int = JANUS_TOKENS
) -> None:
    """Raises RowcastError, saying how many slots fit, where the slots' caches are more than the
    device has free."""
    free = _free_bytes(placement.device)
    each = slot_bytes(decoder, placement, tokens).all
    if free is None or slots * each <= free:
        return
    remedy = f"try --slots {max(1, free // each)}"
    smaller = slot_bytes(decoder, replace(placement, cache=CacheKind.STATES), tokens).all
    if smaller < each:
        remedy += f", or --cache {CacheKind.STATES}, of which {free // smaller} fit"
    raise RowcastError(
        f"{slots} slots of {each / 1e6:.0f} MB take {slots * each / 1e9:.1f} GB, but "
        f"{placement.device} has {free / 1e9:.1f} GB free: {remedy}"
    )


def _free_bytes(device: str) -> int | None:
    """Bytes that are free; None where the device does not tell."""
    if device == "cpu":
        available: int = psutil.virtual_memory().available
        return available
    if device.startswith("cuda"):
        from .engine.devices_torch import free_bytes

        return free_bytes(device)
    return None
