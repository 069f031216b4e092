"""The family of a network, told by its tensors."""

from __future__ import annotations

from ..errors import ModelError
from ..network.facts import CacheKind, Network
from .dalle_bart import DalleBartSlots
from .janus.sizes import is_janus
from .janus.slots import JanusSlots
from .slots import OnnxSlots


def onnx_slots(
    network: Network, slots: int, threads: int, dtype: str, cache: CacheKind
) -> OnnxSlots:
    """The slots of a network on the CPU runner, all their memory taken. Raises
    ModelError where its family has no such cache."""
    if is_janus(network.decoder):
        if cache is not CacheKind.KEYS_AND_VALUES:
            raise ModelError(
                f"--cache {cache} is for DALL-E Mini: in Janus-Pro a token's position is turned "
                "into its keys; leave it out, and try fewer --slots where memory is short"
            )
        return JanusSlots(network, slots, threads, dtype)
    return DalleBartSlots(network, slots, threads, dtype, cache)
