"""A training that is stopped loses nothing that was saved; its schedule ends where it should."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import pytest
import torch
from rowcast_export.distill.schedule import Schedule
from torch import Tensor, nn

from training.loop import (
    CHECKPOINT,
    Average,
    Training,
    load_average,
    load_checkpoint,
    save_checkpoint,
)


def test_a_stop_while_saving_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run" / "checkpoint.pt"
    save_checkpoint(path, weights=torch.arange(3), step=1)

    def stop(state: object, target: Path) -> None:
        target.write_bytes(b"half of a checkp")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(path, weights=torch.arange(4), step=2)
    state = load_checkpoint(path)
    assert (state["weights"].tolist(), state["step"]) == ([0, 1, 2], 1)
    assert list(path.parent.iterdir()) == [path]


def test_the_average_follows_faster_in_the_first_steps() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = Average(module, decay=0.5)
    nn.init.ones_(module.weight)
    average.update(module, step=0)
    assert average.module.weight.item() == pytest.approx(0.9)  # decay 1 / 10
    average.update(module, step=1000)
    assert average.module.weight.item() == pytest.approx(0.95)  # decay 0.5
    assert not average.module.weight.requires_grad


def test_the_schedule_warms_up_and_ends_at_a_fiftieth_by_steps_or_by_minutes() -> None:
    schedule = Schedule(peak=1.0, steps=100, minutes=1e9, warmup=10)
    assert schedule.learning_rate == pytest.approx(0.1)
    schedule.step = 50
    assert schedule.progress == pytest.approx(0.5)
    assert schedule.learning_rate == pytest.approx(0.51)
    schedule.step = 100
    assert schedule.progress == 1.0
    assert schedule.learning_rate == pytest.approx(0.02)
    late = Schedule(peak=1.0, steps=100, minutes=2, warmup=10)
    late.seconds = 120
    assert late.progress == 1.0


def run(folder: Path, stop_after: int | None = None) -> int:
    """Fit a line, perhaps with Ctrl-C in a step; the number of steps taken by then."""
    options = argparse.Namespace(run=folder, rate=0.1, steps=9, minutes=1e9, every=4)
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimiser = torch.optim.AdamW(model.parameters())
    training = Training(options, model, optimiser, warmup=2, decay=0.9)

    def loss(progress: float) -> Tensor:
        assert progress == training.schedule.step / 9
        if training.schedule.step + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        inputs = torch.full((2, 3), training.schedule.step / 9)
        value: Tensor = (model(inputs) - 1).square().mean()
        return value

    training.run(loss, lambda average: ("", {"size": sum(p.numel() for p in average.parameters())}))
    return training.schedule.step


def test_a_training_stopped_twice_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert run(tmp_path / "whole") == 9
    assert [run(tmp_path / "stopped", stop) for stop in (3, 6, None)] == [3, 6, 9]
    whole, stopped = (
        load_checkpoint(tmp_path / each / CHECKPOINT) for each in ("whole", "stopped")
    )
    assert whole["size"] == 4
    for part in ("model", "average"):
        for name, value in whole[part].items():
            assert torch.equal(stopped[part][name], value), (part, name)
    assert not torch.equal(whole["average"]["weight"], whole["model"]["weight"])
    loaded = load_average(nn.Linear(3, 1), tmp_path / "whole")
    assert torch.equal(loaded.weight, whole["average"]["weight"])
    assert signal.getsignal(signal.SIGINT) is before


def test_a_training_that_has_ended_takes_no_step(tmp_path: Path) -> None:
    run(tmp_path)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    assert run(tmp_path) == 9
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
