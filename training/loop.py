"""The training loop: options, averaged weights, checkpoints, and a clean stop."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from rowcast.whole_files import whole_file
from rowcast_export.distill.schedule import Schedule, stop_asked
from torch import Tensor, nn
from tqdm import tqdm

from training.command_line import Options, parse

CHECKPOINT = "checkpoint.pt"  # in the folder of a run

M = TypeVar("M", bound=nn.Module)


class Average(Generic[M]):
    """Exponential moving average of a module's weights, faster in the first steps."""

    def __init__(self, module: M, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: M, step: int) -> None:
        """Move the average towards the module."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.module.parameters())
        values: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(averages, values, 1 - decay)


class Training(Generic[M]):
    """A run of training, kept in the folder `arguments.run`, from which it is resumed.

    `more` are modules whose weights are kept beside the model's. `clip` is the largest norm of the
    model's gradient.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        model: M,
        optimiser: torch.optim.Optimizer,
        warmup: int,
        decay: float,
        clip: float = 1.0,
        **more: nn.Module,
    ) -> None:
        self.model, self.optimiser, self.clip = model, optimiser, clip
        self.average = Average(model, decay)
        self.schedule = Schedule(arguments.rate, arguments.steps, arguments.minutes, warmup)
        self.every: int = arguments.every
        self.path: Path = arguments.run / CHECKPOINT
        self._kept: dict[str, Any] = {"model": model, "average": self.average.module, **more}
        if self.path.exists():
            state = load_checkpoint(self.path)
            for name, part in {**self._kept, "optimiser": optimiser}.items():
                part.load_state_dict(state[name])
            self.schedule.step, self.schedule.seconds = state["step"], state["seconds"]
            print(f"resumed at step {self.schedule.step}", flush=True)

    def run(
        self, loss: Callable[[float], Tensor], measure: Callable[[M], tuple[str, dict[str, Any]]]
    ) -> None:
        """Take steps to the end, or until Ctrl-C; the checkpoint is then up to date.

        `loss` of the progress 0..1 is a batch's; `measure` of the averaged model gives the words
        for a line of the log, and what else the checkpoint keeps.
        """
        schedule = self.schedule
        bar = tqdm(initial=schedule.step, unit="step", mininterval=10)
        schedule.begin()
        with stop_asked() as is_stopping:
            stopping = False
            while schedule.progress < 1 and not stopping:
                for group in self.optimiser.param_groups:
                    group["lr"] = schedule.learning_rate
                value = loss(schedule.progress)
                torch.autograd.backward(value)
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
                self.optimiser.step()
                self.optimiser.zero_grad()
                self.average.update(self.model, schedule.step)
                schedule.advance()
                bar.update()
                stopping = is_stopping()
                if stopping:
                    print("stopping after this step; press again to stop at once", flush=True)
                if schedule.step % self.every == 0 or schedule.progress >= 1 or stopping:
                    self._save(value.item(), measure)

    def _save(self, loss: float, measure: Callable[[M], tuple[str, dict[str, Any]]]) -> None:
        schedule, average = self.schedule, self.average.module
        for mean, value in zip(average.buffers(), self.model.buffers(), strict=True):
            mean.copy_(value)  # the statistics of batch norms are averages already
        words, more = measure(average)
        print(
            f"step {schedule.step} minute {schedule.seconds / 60:.1f} loss {loss:.4f} "
            f"rate {schedule.learning_rate:.2e} {words}",
            flush=True,
        )
        kept = {name: part.state_dict() for name, part in self._kept.items()}
        kept["optimiser"] = self.optimiser.state_dict()
        save_checkpoint(self.path, **kept, step=schedule.step, seconds=schedule.seconds, **more)


def training_options(run: Path, minutes: float, steps: int, rate: float, every: int) -> Options:
    """The options that all trainings have, with these defaults."""
    return {
        "run": (run, "folder of the checkpoint"),
        "minutes": (minutes, "wall-clock budget"),
        "steps": (steps, "most steps"),
        "rate": (rate, "peak learning rate"),
        "every": (every, "steps between checkpoints"),
        "threads": (2, "threads of torch"),
        "seed": (0, "of weights and batches"),
    }


def parse_training(about: str | None, options: Options) -> argparse.Namespace:
    """Parse the command line of a training, seed torch and set its threads."""
    arguments = parse(about, options)
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    return arguments


def load_average(model: M, run: Path) -> M:
    """The model, in eval mode, with the averaged weights of a run."""
    model.load_state_dict(load_checkpoint(run / CHECKPOINT)["average"])
    return model.eval()


def save_checkpoint(path: Path, **state: Any) -> None:
    """Write atomically: a stop in the middle leaves the previous checkpoint whole."""
    with whole_file(path, make_folders=True) as partial:
        torch.save(state, partial)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what save_checkpoint wrote; weights and plain values only."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
