"""A decoder small enough to export in a test: 32 channels, two levels, random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from rowcast.cli import main
from rowcast_export.building import build
from rowcast_export.export import export_detokenizer
from rowcast_export.formats import read_detokenizer
from rowcast_export.manifest import Exported
from rowcast_export.preview.decoder import AnyDecoder
from rowcast_export.settings import OPSETS, Settings, settle
from rowcast_export.tracing import to_onnx
from rowcast_export.verify import Reference
from rowcast_export.vqgan import VQGANDecoder
from safetensors.torch import save_file
from torch import Tensor

from tests.support.decoders import TINY

Trace = Callable[[AnyDecoder, int], onnx.ModelProto]
NOTES = {"name": "tiny", "group_norm_epsilon": "1e-06", "value_range": "0..1"}


def run_export(*words: object) -> int:
    """The exit code of `rowcast export` with these words."""
    try:
        return main(["export", *map(str, words)])
    except SystemExit as stop:  # argparse has printed the help or the usage
        return int(stop.code or 0)


@pytest.fixture(scope="session", autouse=True)
def _one_thread(one_thread: None) -> None:
    """For all tests here."""


@pytest.fixture(scope="session")
def tiny_tensors() -> dict[str, Tensor]:
    """Weights whose pictures are neither black, white nor flat."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = VQGANDecoder(TINY)
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.dim() == 1:  # norms and biases start at constants
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            module.decoder.conv_out.weight.mul_(0.5)
            module.get_parameter("decoder.conv_out.bias").add_(0.5)
    return {name: value.detach() for name, value in module.state_dict().items()}


@pytest.fixture(scope="session")
def write_checkpoint(tiny_tensors: dict[str, Tensor]) -> Callable[..., Path]:
    """Write the tiny weights as safetensors, with other tensors or notes if they are given."""

    def write(path: Path, notes: dict[str, str] | None = None, **changed: Tensor) -> Path:
        renamed = {name.replace("__", "."): value for name, value in changed.items()}
        save_file({**tiny_tensors, **renamed}, path, NOTES if notes is None else notes)
        return path

    return write


@pytest.fixture(scope="session")
def checkpoint_file(
    tmp_path_factory: pytest.TempPathFactory, write_checkpoint: Callable[..., Path]
) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors")


@pytest.fixture(scope="session")
def module(checkpoint_file: Path) -> VQGANDecoder:
    """The torch module that the exported file must agree with."""
    checkpoint = read_detokenizer(checkpoint_file)
    return build(checkpoint, settle(checkpoint.metadata, Settings("unnamed")))


@pytest.fixture(scope="session")
def reference(module: VQGANDecoder) -> Reference:
    """The same, as verification wants it."""
    return Reference(module)


@pytest.fixture(scope="session")
def exported(checkpoint_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The tiny decoder, exported once; tests must not change the file."""
    checkpoint = read_detokenizer(checkpoint_file)
    settings = settle(checkpoint.metadata, Settings("unnamed"))
    [file, _] = export_detokenizer(checkpoint, tmp_path_factory.mktemp("out"), settings, threads=1)
    return file


@pytest.fixture(scope="session")
def tracing_but_once(exported: Exported, module: VQGANDecoder) -> Trace:
    """`to_onnx`, but that the tiny decoder's graph is the exported one: tracing takes seconds."""
    known = module.state_dict()
    graph = onnx.load(exported.path)

    def trace(of: AnyDecoder, opset: int) -> onnx.ModelProto:
        state = of.state_dict()
        same = opset == OPSETS[0] and state.keys() == known.keys()
        if same and all(torch.equal(value, known[name]) for name, value in state.items()):
            return graph
        return to_onnx(of, opset)

    return trace
