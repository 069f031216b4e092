"""Which decoder of a checkpoint is meant, and what looks like another: recognised, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rowcast_export.formats import CheckpointError, read_detokenizer

from tests.support.decoders import TAMING, make_state, write_torch_zip


def test_of_two_decoders_the_pictures_and_the_average_are_meant(tmp_path: Path) -> None:
    """taming's transformers hold a decoder of their conditions; trainers a running average."""
    first, other = make_state(TAMING), make_state(TAMING, seed=1)
    for chosen, passed in (
        ("first_stage_model", "cond_stage_model"),
        ("ema", "model"),
        ("ema_model.module", "model"),
        ("model_ema", "module"),
        ("params_ema", "params"),
    ):
        both = {f"{passed}.{name}": value for name, value in other.items()}
        both |= {f"{chosen}.{name}": value for name, value in first.items()}
        found = read_detokenizer(write_torch_zip(tmp_path / "x.ckpt", both)).tensors
        name = "decoder.conv_out.bias"
        assert np.array_equal(found[name], first[name].numpy())


def test_ids_that_are_no_codes_are_refused(tmp_path: Path) -> None:
    """taming's `remap`: an id is a place in a table of the codes in use."""
    state = {**make_state(TAMING), "quantize.used": torch.arange(7)}
    with pytest.raises(CheckpointError, match=r"x\.ckpt: found state_dict\.quantize\.used"):
        read_detokenizer(write_torch_zip(tmp_path / "x.ckpt", state))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64])
def test_quantised_weights_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    state = make_state(TAMING)
    state["decoder.conv_in.weight"] = (state["decoder.conv_in.weight"] * 100).to(dtype)
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(CheckpointError, match=rf"decoder\.conv_in\.weight holds {kind}, not float"):
        read_detokenizer(write_torch_zip(tmp_path / "x.ckpt", state))


def test_janus_of_one_level_is_told_by_its_configuration(tmp_path: Path) -> None:
    """Of one level no order can be seen, and only Janus' codes have the length 1."""
    state = {name: value for name, value in make_state(TAMING).items() if ".up.1." not in name}
    write_torch_zip(tmp_path / "model.bin", state)
    assert read_detokenizer(tmp_path / "model.bin").family.name == "taming"
    (tmp_path / "config.json").write_text('{"model_type": "janus_vqgan"}')
    checkpoint = read_detokenizer(tmp_path / "model.bin")
    assert checkpoint.family.name == "janus"
    lengths = np.linalg.norm(checkpoint.tensors["embedding.weight"], axis=1)
    assert np.allclose(lengths, 1)
