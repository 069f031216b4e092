"""The engines of a process, each with the runner of its placement. torch is imported for its own
alone."""

from __future__ import annotations

from collections.abc import Callable

from rowcast.errors import RowcastError

from .bridge import EngineBridge, Fleet
from .config import ServerConfig
from .engine.engine import Engine
from .engine.runner import Runner
from .engine.runner_onnx import OnnxRunner
from .memory import check_memory
from .metrics import Metrics
from .models.loading import Transformer
from .placement import Placement

RunnerFactory = Callable[[Transformer, ServerConfig, Placement], Runner]


def make_runner(model: Transformer, config: ServerConfig, placement: Placement) -> Runner:
    """The runner of a model on a device. Raises RowcastError where the model and its slots do
    not fit into its memory."""
    check_memory(model.decoder, config.slots, placement, model.grid.tokens)
    if placement.by_onnx:
        return OnnxRunner(
            model,
            config.slots,
            config.threads,
            placement.dtype,
            placement.cache,
            config.draft_window,
        )
    import torch

    from .engine.devices_torch import device_of
    from .engine.runner_torch import TorchRunner

    if placement.device == "cpu":
        torch.set_num_threads(config.threads)
    try:
        return TorchRunner(model, config.slots, device_of(placement.device), placement.dtype)
    except torch.OutOfMemoryError as error:
        raise RowcastError(
            f"{model.name} with {config.slots} slots in {placement.dtype} does not fit into the "
            f"memory of {placement.device}: try fewer --slots, or --dtype bfloat16 ({error})"
        ) from error


def make_fleet(
    model: Transformer,
    config: ServerConfig,
    make_runner: RunnerFactory = make_runner,
    metrics: Metrics | None = None,
) -> Fleet:
    """The engines of this process. Raises RowcastError where a device has too little memory."""
    bridges = []
    for placement in config.placements:
        engine = Engine(make_runner(model, config, placement))
        gives_way = placement.device == "cpu"
        rooms = config.slots, config.queue_limit
        bridges.append(EngineBridge(engine, *rooms, gives_way, metrics))
    return Fleet(bridges)
