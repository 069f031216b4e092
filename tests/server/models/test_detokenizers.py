"""The clients' detokenizer: taken as it is, or exported once in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rowcast_server.errors import ModelError
from rowcast_server.models.loading import load

from tests.support.checkpoints import CODES, write_safetensors_folder
from tests.support.decoders import TAMING, WIDTHS, make_state, write_safetensors
from tests.support.tiny_model import tiny_detokenizer


@pytest.mark.timeout(300)
def test_a_checkpoint_is_exported_once(
    tmp_path: Path, own_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write_safetensors_folder(tmp_path / "model")
    (folder / "detokenizer.onnx").unlink()
    codebook = torch.randn(CODES, TAMING.code_channels, generator=torch.Generator().manual_seed(1))
    state = make_state(TAMING) | {TAMING.codebook: codebook}
    write_safetensors(folder / "detokenizer.safetensors", state)
    model = load(str(folder))
    assert "detokenizer.safetensors" in capfd.readouterr().err  # says what takes so long
    assert model.detokenizer.is_relative_to(own_cache)
    assert model.pixels_per_token == 2 ** (len(WIDTHS) - 1)
    assert load(str(folder)).files == model.files
    assert capfd.readouterr().err == ""


def test_a_checkpoint_that_cannot_be_exported_is_named_and_nothing_is_kept(
    tmp_path: Path, own_cache: Path
) -> None:
    folder = write_safetensors_folder(tmp_path / "model")
    (folder / "detokenizer.onnx").unlink()
    (folder / "detoker.pt").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"detoker\.pt could not be exported .*: rowcast export"):
        load(str(folder))
    assert list((own_cache / "detokenizers").iterdir()) == []


def test_min_dalles_detoker_lies_beside_its_models(tmp_path: Path) -> None:
    folder = write_safetensors_folder(tmp_path / "dalle_bart_mini")
    (folder / "detokenizer.onnx").unlink()
    with pytest.raises(ModelError, match=r"no detokenizer\.onnx .* detoker\.pt"):
        load(str(folder))
    (tmp_path / "vqgan").mkdir()
    (tmp_path / "vqgan/detoker.pt").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"vqgan/detoker\.pt could not be exported"):
        load(str(folder))


def test_a_ready_one_is_used_as_it_is(tmp_path: Path, own_cache: Path) -> None:
    folder = write_safetensors_folder(tmp_path / "model")
    path = tiny_detokenizer(folder / "detokenizer.onnx", CODES)
    assert load(str(folder)).detokenizer == path
    assert not own_cache.exists()
