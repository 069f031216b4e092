"""The family of a network on the torch runner, told by its tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..network.facts import Network
from ..network.static_decoder import Pass
from .dalle_bart_torch import DalleBartTorchSlots
from .janus.sizes import is_janus
from .janus.torch_slots import JanusTorchSlots
from .torch_slots import TorchSlots, Upload


def torch_slots(
    network: Network,
    slots: int,
    device: torch.device,
    dtype: torch.dtype,
    upload: Upload,
    fused: Callable[[Pass], Pass],
) -> TorchSlots:
    """The slots of a network on a device, all their memory taken. ``upload`` and ``fused`` are the
    device's."""
    made = JanusTorchSlots if is_janus(network.decoder) else DalleBartTorchSlots
    return made(network, slots, device, dtype, upload, fused)
