"""Weights arrive whole in the dtype asked for, from any dtype and memory order, in small pieces."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rowcast_server.network.dalle_bart import DalleBartEncoder
from rowcast_server.network.device_weights import fill_from, load_module, read
from rowcast_server.network.facts import TransformerShape
from rowcast_server.network.tensors import BLOCK_BYTES, StoredTensor, Tensors

CPU = torch.device("cpu")


def stored(**arrays: NDArray[np.generic]) -> Tensors:
    """Tensors as a mapped file gives them: not to be written to."""
    tensors = {}
    for name, array in arrays.items():
        array.flags.writeable = False
        read_it = partial(np.asarray, array)
        tensors[name.replace("__", ".")] = StoredTensor(array.shape, array.dtype, read_it)
    return Tensors(Path("test"), tensors)


def values(*shape: int) -> NDArray[np.float32]:
    """Few bits each, so that every dtype holds them exactly."""
    return np.random.default_rng(0).integers(-64, 64, shape).astype(np.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("in_file", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_dtype_of_a_file_becomes_every_dtype_of_a_device(
    in_file: type[np.generic], dtype: torch.dtype
) -> None:
    expected = values(5, 7)
    tensor = read(stored(a=expected.astype(in_file)), "a", CPU, dtype)
    assert tensor.dtype == dtype
    assert (tensor.float().numpy() == expected).all()


def test_a_transposed_view_is_read_in_its_own_order() -> None:
    expected = values(5, 7)
    assert (read(stored(a=expected.T), "a", CPU, torch.float32).numpy() == expected.T).all()


def test_the_first_rows_alone_are_read() -> None:
    expected = values(9, 4)
    assert (read(stored(a=expected), "a", CPU, torch.float32, rows=6).numpy() == expected[:6]).all()


def test_a_large_tensor_goes_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = values(3 * BLOCK_BYTES // (4 * 1_000) + 1, 1_000)
    copied = []

    def noted(array: NDArray[np.generic], order: str) -> NDArray[np.generic]:
        copied.append(array.nbytes)
        copy: NDArray[np.generic] = array.copy(order="C")
        assert order == "C"
        return copy

    monkeypatch.setattr("rowcast_server.network.device_weights.np.array", noted)
    tensor = read(stored(a=expected), "a", CPU, torch.bfloat16)
    monkeypatch.undo()
    assert max(copied) <= BLOCK_BYTES
    assert sum(copied) == expected.nbytes
    assert (tensor.float().numpy() == expected).all()


@pytest.mark.parametrize("shape", [(4, 7), (5, 6)], ids=["too few rows", "other width"])
def test_a_tensor_that_does_not_fit_is_refused_by_name(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"a is of shape .*, needs \(5, 7\)"):
        fill_from(torch.empty(5, 7), stored(a=values(*shape)), "a")


def encoder_weights() -> dict[str, NDArray[np.floating]]:
    shape = TransformerShape(vocabulary=9, positions=64, width=64, glu_width=32, layers=1)
    random = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(parameter.shape, generator=random).numpy()
        for name, parameter in DalleBartEncoder(shape).named_parameters()
    }


def meta_encoder() -> DalleBartEncoder:
    with torch.device("meta"):
        return DalleBartEncoder(TransformerShape(9, 64, 64, 32, 1))


def test_a_module_gets_its_parameters_and_absent_scales_are_one() -> None:
    weights = encoder_weights()
    del weights["layers.0.glu.ln0.weight"]
    module = load_module(meta_encoder(), weights, CPU, torch.float32)
    reference = DalleBartEncoder.from_state_dict(
        {name: torch.from_numpy(array) for name, array in weights.items()}
    )
    ids = torch.tensor([[0, 5, 2, 1]])
    assert torch.equal(module(ids), reference(ids))
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_a_parameter_that_the_file_lacks_or_that_does_not_fit_is_named() -> None:
    weights = encoder_weights()
    weights["layers.0.glu.fc0.weight"] = values(33, 64)
    with pytest.raises(ValueError, match=r"layers\.0\.glu\.fc0\.weight is of shape \(33, 64\)"):
        load_module(meta_encoder(), weights, CPU, torch.float32)
    del weights["layers.0.glu.fc0.weight"]
    with pytest.raises(KeyError, match=r"layers\.0\.glu\.fc0\.weight"):
        load_module(meta_encoder(), weights, CPU, torch.float32)
