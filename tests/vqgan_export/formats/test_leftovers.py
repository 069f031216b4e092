"""What trainers leave beside the weights is passed by; else how to take the weights out is said."""

from __future__ import annotations

import argparse
import datetime
import enum
import re
import shlex
import subprocess
import sys
import types
from collections import OrderedDict, defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from rowcast_export.formats import CheckpointError, read_detokenizer

from tests.support.decoders import TAMING, make_state


class Config:
    """Kept by its state."""

    def __init__(self, **content: Any) -> None:
        self.content = content


class Attributes(dict[str, Any]):
    """Kept by its items."""


class Items(list[Any]):
    """Kept by its entries."""


class Mode(enum.Enum):
    MIN = "min"


def of(name: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A class like ``kind`` that pickles under another name, as if its package were installed."""
    package, _, last = name.rpartition(".")
    names = package.split(".")
    for count in range(1, len(names) + 1):  # with the packages around it
        parent = ".".join(names[:count])
        monkeypatch.setitem(sys.modules, parent, sys.modules.get(parent, types.ModuleType(parent)))
    module = sys.modules[package]
    if issubclass(kind, enum.Enum):
        members: Any = enum.Enum
        made = members(last, {"MIN": "min"}, module=package, qualname=last)
    else:
        made = type(last, (kind,), {"__module__": package, "__qualname__": last})
    vars(module)[last] = made
    return made


@pytest.mark.parametrize("modern", [True, False], ids=["zip", "old"])
def test_what_trainers_leave_is_passed_by(
    modern: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """taming's and Lightning's checkpoints of several years."""
    dict_config = of("omegaconf.dictconfig.DictConfig", Config, monkeypatch)
    list_config = of("omegaconf.listconfig.ListConfig", Items, monkeypatch)
    callback = of(
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint", Config, monkeypatch
    )
    newer = of("lightning.pytorch.callbacks.early_stopping.EarlyStopping", Config, monkeypatch)
    attributes = of("pytorch_lightning.utilities.parsing.AttributeDict", Attributes, monkeypatch)
    mode = of("lightning.fabric.utilities.enums.Mode", Mode, monkeypatch)
    logs: defaultdict[str, Any] = defaultdict(list)
    logs["loss"].append(np.float64(0.5))
    content = {
        "state_dict": OrderedDict(make_state(TAMING)),
        "callbacks": {callback: {"best": np.float32(1.5), "path": Path("/logs/best.ckpt")}},
        "hyper_parameters": attributes(
            lr=1e-4, data=dict_config(size=np.int64(256)), n=attributes()
        ),
        "old": [callback(monitor="loss"), newer(), list_config([1, dict_config()]), mode.MIN],
        "logs": logs,
        "table": np.arange(6.0).reshape(2, 3),
        "paths": {PurePosixPath("a"): {"b"}, "when": datetime.datetime(2021, 2, 3)},
        "args": argparse.Namespace(slice=slice(1, 2), numbers={1, 2}, frozen=frozenset("ab"), z=1j),
    }
    torch.save(content, tmp_path / "last.ckpt", _use_new_zipfile_serialization=modern)
    found = read_detokenizer(tmp_path / "last.ckpt")
    assert found.family.name == "taming"
    assert np.array_equal(
        found.tensors["decoder.conv_out.bias"],
        content["state_dict"]["decoder.conv_out.bias"].numpy(),
    )


class Calls:
    """A pickle that calls a function of a package whose objects are passed by."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("modern", [True, False], ids=["zip", "old"])
def test_what_is_passed_by_is_not_called(modern: bool, tmp_path: Path) -> None:
    mark = tmp_path / "it-ran.npy"
    calls = Calls(np.save, str(mark), 1), Calls(np.savetxt, str(mark), [1])
    content = {**make_state(TAMING), "calls": calls}
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=modern)
    assert read_detokenizer(tmp_path / "x.pt").family.name == "taming"
    assert not mark.exists()


def test_weights_in_a_dict_of_another_kind_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attributes = of("easydict.EasyDict", Attributes, monkeypatch)
    torch.save({"model": attributes(make_state(TAMING))}, tmp_path / "x.pt")
    assert read_detokenizer(tmp_path / "x.pt").family.name == "taming"


MODULE = """
import torch

class Config:
    pass

class Model(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def state_dict(self):
        return self.weights
"""


@pytest.mark.parametrize("whole", [False, True], ids=["config", "module"])
def test_a_refusal_names_the_class_and_the_command_that_takes_the_weights_out(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is run as it stands."""
    (tmp_path / "trainer.py").write_text(MODULE)
    trainer = types.ModuleType("trainer")
    exec(MODULE, vars(trainer))
    monkeypatch.setitem(sys.modules, "trainer", trainer)
    path = tmp_path / ("it's last.ckpt" if whole else "last.ckpt")
    state = make_state(TAMING)
    content = trainer.Model(state) if whole else {"state_dict": state, "config": trainer.Config()}
    torch.save(content, path)
    named = r"trainer\.Model" if whole else r"trainer\.Config"
    with pytest.raises(CheckpointError, match=rf"refused: .*it names {named}\)") as caught:
        read_detokenizer(path)
    command = re.search(r"python -c .*", str(caught.value))
    assert command is not None
    words = [sys.executable, *shlex.split(command[0])[1:]]
    subprocess.run(words, cwd=tmp_path, check=True, timeout=60)
    assert read_detokenizer(tmp_path / "weights.pt").family.name == "taming"


@pytest.mark.parametrize("modern", [True, False], ids=["zip", "old"])
def test_a_pickle_of_another_protocol_is_named(modern: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    state = make_state(TAMING)
    torch.save(state, path, pickle_protocol=4, _use_new_zipfile_serialization=modern)
    with pytest.raises(CheckpointError, match=r"x\.pt: refused: .*not of protocol 2.*python -c"):
        read_detokenizer(path)


def test_a_pickle_without_end_of_classes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [of(f"omegaconf.kind{number}.Kind", Config, monkeypatch) for number in range(80)]
    torch.save({**make_state(TAMING), "kinds": kinds}, tmp_path / "x.pt")
    with pytest.raises(
        CheckpointError, match=r"x\.pt: refused: .*it names omegaconf\.kind64\.Kind"
    ):
        read_detokenizer(tmp_path / "x.pt")
