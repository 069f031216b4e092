"""A training that is stopped loses nothing that was saved; its schedule ends where it should."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rowcast_export.distill.schedule import Schedule
from torch import nn

from training.loop import Average, load_checkpoint, save_checkpoint


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
