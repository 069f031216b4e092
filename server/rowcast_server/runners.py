"""The runner for a model on the device that was chosen. torch is imported for its own alone."""

from __future__ import annotations

from rowcast.errors import RowcastError

from .config import ServerConfig
from .engine.runner import Runner
from .engine.runner_onnx import OnnxRunner
from .memory import check_memory
from .models.loading import Transformer
from .models.text import unconditional_ids
from .placement import Placement


def make_runner(model: Transformer, config: ServerConfig, device: str) -> Runner:
    """The runner of ``device`` in ``config.dtype``. Raises RowcastError where the model and its
    slots do not fit into the device's memory."""
    unconditional = tuple(unconditional_ids().tolist())
    cache = Placement(device, config.dtype).cache(config.cache)
    check_memory(model.decoder, config.slots, device, config.dtype, cache)
    if cache is not None:
        return OnnxRunner(
            model.encoder,
            model.decoder,
            model.grid,
            unconditional,
            config.slots,
            config.threads,
            digest=model.digest,
            int8=config.dtype == "int8",
            cache=cache,
            draft_window=config.draft_window,
        )
    import torch

    from .engine.devices_torch import device_of
    from .engine.runner_torch import TorchRunner

    if device == "cpu":
        torch.set_num_threads(config.threads)
    try:
        return TorchRunner(
            model.encoder,
            model.decoder,
            model.grid,
            unconditional,
            config.slots,
            device_of(device),
            getattr(torch, config.dtype),
        )
    except torch.OutOfMemoryError as error:
        raise RowcastError(
            f"{model.name} with {config.slots} slots in {config.dtype} does not fit into the "
            f"memory of {device}: try fewer --slots, or --dtype bfloat16 ({error})"
        ) from error
