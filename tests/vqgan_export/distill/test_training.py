"""Training: the loss falls, a stop costs nothing, and what cannot go on says why."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from rowcast_export.agreements import Imitation
from rowcast_export.distill.grids import Grids
from rowcast_export.distill.schedule import DistillOptions
from rowcast_export.distill.training import (
    CHECKPOINT,
    EDGE_WEIGHT,
    Distillation,
    imitation_loss,
    rows_shown,
)
from rowcast_export.errors import DistillError
from rowcast_export.progress import Progress
from rowcast_export.vqgan import VQGANDecoder

from tests.support.decoders import TINY

IDS = np.random.default_rng(0).integers(0, TINY.codebook_size, (40, 6, 6))
GRIDS = Grids(IDS, "grids")
OPTIONS = DistillOptions(steps=8, batch=4)


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small decoder that is smaller still."""
    monkeypatch.setattr("rowcast_export.preview.decoder.WIDTHS", (16, 8))
    monkeypatch.setattr("rowcast_export.preview.decoder.BLOCKS", (1, 0))


def training(
    module: VQGANDecoder, folder: Path, options: DistillOptions = OPTIONS, grids: Grids = GRIDS
) -> Distillation:
    return Distillation(module, grids, folder, "decoder", options)


def weights(of: Distillation) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in of.preview.state_dict().items()}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def press_at(step: int, times: int = 1) -> Progress:
    """Ctrl-C, once a step has been taken."""

    def show(what: str, done: int, total: int) -> None:
        if what.startswith("training") and done == step:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    return show


def test_pictures_come_nearer_to_the_full_decoders(module: VQGANDecoder, tmp_path: Path) -> None:
    options = dataclasses.replace(OPTIONS, steps=150, learning_rate=5e-3)
    before = training(module, tmp_path / "none", dataclasses.replace(options, steps=1)).run()
    after = training(module, tmp_path / "some", options).run()
    assert after.grids == before.grids == 2
    assert after.psnr_db_of_mean_square > before.psnr_db_of_mean_square + 2


def test_a_training_stopped_twice_ends_with_the_bits_of_one_that_was_not(
    module: VQGANDecoder, tmp_path: Path
) -> None:
    whole = training(module, tmp_path / "whole")
    found = whole.run()
    for step in (3, 5):
        stopped = training(module, tmp_path / "stopped")
        with pytest.raises(KeyboardInterrupt):
            stopped.run(press_at(step))
        assert stopped.schedule.step == step
    resumed = training(module, tmp_path / "stopped")
    assert resumed.schedule.step == 5
    assert resumed.run() == found
    assert same(weights(resumed), weights(whole))
    again = training(module, tmp_path / "whole")  # it has ended: nothing is left to do
    assert again.run() == found
    assert same(weights(again), weights(whole))


def test_a_second_ctrl_c_does_not_wait(module: VQGANDecoder, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        training(module, tmp_path).run(press_at(3, times=2))
    assert not (tmp_path / CHECKPOINT).exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_while_grids_are_decoded_keeps_those_that_are(
    module: VQGANDecoder, tmp_path: Path
) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(module, tmp_path).run(stop)
    decoded: list[int] = []

    def watch(what: str, done: int, total: int) -> None:
        if what == "decoding the grids":
            decoded.append(done)

    training(module, tmp_path).run(watch)
    assert decoded == list(range(7, 40))


def test_more_steps_go_on_from_the_end(module: VQGANDecoder, tmp_path: Path) -> None:
    training(module, tmp_path).run()
    longer = training(module, tmp_path, dataclasses.replace(OPTIONS, steps=9))
    assert longer.schedule.step == 8
    longer.run()
    assert longer.schedule.step == 9


def test_minutes_end_it_too(module: VQGANDecoder, tmp_path: Path) -> None:
    brief = dataclasses.replace(OPTIONS, steps=10**6, minutes=1e-3)
    training(module, tmp_path, brief).run()
    again = training(module, tmp_path, brief)
    assert 0 < again.schedule.step < 10**6
    step = again.schedule.step
    again.run()  # the minutes are used up
    assert again.schedule.step == step


def test_a_loss_that_is_no_number_ends_it(module: VQGANDecoder, tmp_path: Path) -> None:
    training(module, tmp_path).run()
    kept = (tmp_path / CHECKPOINT).read_bytes()
    broken = training(module, tmp_path, dataclasses.replace(OPTIONS, steps=20))
    with torch.no_grad():
        broken.preview.conv_in.weight.fill_(math.nan)
    with pytest.raises(DistillError, match="the loss is nan at step 8, so training ends"):
        broken.run()
    assert (tmp_path / CHECKPOINT).read_bytes() == kept


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "foreign"])
def test_a_damaged_checkpoint_is_named(module: VQGANDecoder, tmp_path: Path, damage: str) -> None:
    path = tmp_path / CHECKPOINT
    training(module, tmp_path).run()
    whole = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("a red house")
        case "foreign":
            torch.save({"step": 3}, path)
    with pytest.raises(DistillError, match="is no checkpoint of a training, or is damaged"):
        training(module, tmp_path)


@pytest.mark.parametrize(
    ("options", "grids", "differing"),
    [
        ({"seed": 1}, GRIDS, "its seed differ"),
        ({"batch": 2, "learning_rate": 1.0}, GRIDS, "its batch and its learning rate differ"),
        ({}, Grids(IDS, "others"), "its grids differ"),
    ],
)
def test_a_checkpoint_of_another_training_is_named(
    module: VQGANDecoder,
    tmp_path: Path,
    options: dict[str, float],
    grids: Grids,
    differing: str,
) -> None:
    training(module, tmp_path).run()
    changed = dataclasses.replace(OPTIONS, **options)  # type: ignore[arg-type]
    with pytest.raises(DistillError, match=f"is of another training: {differing}"):
        training(module, tmp_path, changed, grids)


def test_in_a_third_of_the_steps_the_grids_are_cut() -> None:
    generator = np.random.default_rng(0)
    shown = [rows_shown(16, generator) for _ in range(3000)]
    cut = [rows for rows in shown if rows < 16]
    assert set(cut) == set(range(1, 16))
    assert 0.3 < len(cut) / 3000 < 0.37
    assert {rows_shown(1, generator) for _ in range(99)} == {1}  # one row cannot be cut


def test_a_cut_grid_is_compared_with_its_rows_of_the_whole_picture(
    module: VQGANDecoder, tmp_path: Path
) -> None:
    taught = training(module, tmp_path)
    taught.run()
    seen = set()
    for taught.schedule.step in range(40):
        ids, wanted = taught._batch()
        rows = ids.shape[1]
        assert wanted.shape[2] == rows * TINY.pixels_per_token
        for grid, picture in zip(ids, wanted, strict=True):
            [whole] = (
                index for index, each in enumerate(GRIDS.ids) if (each[:rows] == grid.numpy()).all()
            )
            with torch.inference_mode():
                pixels = module(torch.from_numpy(GRIDS.ids[whole : whole + 1]))[0]
            truth = (pixels * 255).floor()[:, : wanted.shape[2]]
            assert torch.equal(picture.float(), truth)
        seen.add(rows)
    assert len(seen) > 1


def test_the_loss_is_of_pixels_and_of_steps_between_them() -> None:
    wanted = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    right = (wanted + 0.5) / 255
    assert imitation_loss(right, wanted).item() == pytest.approx(0, abs=1e-12)
    assert imitation_loss(right + 0.1, wanted).item() == pytest.approx(0.01)  # tone alone
    columns = torch.tensor([0.1, -0.1, 0.1, -0.1]).expand(1, 3, 4, 4)
    assert imitation_loss(right + columns, wanted).item() == pytest.approx(
        0.01 + EDGE_WEIGHT * 0.04
    )


def test_what_is_told_of_the_imitation() -> None:
    told = Imitation.of(255**2 * np.array([1e-2, 1e-3, 1e-5]))
    assert told.grids == 3
    assert told.psnr_db_median == pytest.approx(30)
    assert told.psnr_db_mean == pytest.approx(100 / 3)
    assert told.psnr_db_of_mean_square == pytest.approx(-10 * math.log10(0.01101 / 3))
    assert Imitation.of(np.zeros(1)).psnr_db_median == pytest.approx(120)
