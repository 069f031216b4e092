"""Each family: a reference module, its real file, our export, ONNX Runtime: the same pictures."""

from __future__ import annotations

import argparse
import importlib
import json
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from min_dalle.models import VQGanDetokenizer
from min_dalle.models.vqgan_detokenizer import Decoder, MiddleLayer, UpsampleBlock
from rowcast_export import palette as palette_module
from rowcast_export import verify as verify_module
from rowcast_export.building import build
from rowcast_export.export import export_detokenizer
from rowcast_export.formats import Checkpoint, CheckpointError, read_detokenizer
from rowcast_export.runtime import OnnxDetokenizer, Pixels
from rowcast_export.settings import Settings, settle
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.support.decoders import (
    CODES,
    FLAX,
    JANUS,
    LLAMAGEN,
    TAMING,
    Naming,
    State,
    decode,
    lively,
    make_state,
    write_flax,
)

pytestmark = pytest.mark.timeout(400)  # each export is seconds of work, and cores are shared
LARGEST_DIFFERENCE = 1e-3  # of the range 0..1
SHAPES = ((1, 4, 4), (2, 3, 5), (1, 6, 2))


def settings_of(checkpoint: Checkpoint) -> Settings:
    family = checkpoint.family
    defaults = Settings("x", family.group_norm_epsilon, family.value_range)
    return settle(checkpoint.metadata, defaults)


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], OnnxDetokenizer]:
    """Source -> the exported file, running. Verified on few grids: test_verify has the others."""
    monkeypatch.setattr(verify_module, "GRIDS", ((1, 2, 8), (1, 3, 4)))
    monkeypatch.setattr(palette_module, "PATCHWORK", (1, 8, 8))

    def run(source: Path) -> OnnxDetokenizer:
        checkpoint = read_detokenizer(source)
        out = tmp_path / "out"
        export_detokenizer(checkpoint, out, settings_of(checkpoint), threads=1)
        return OnnxDetokenizer(out / "detokenizer.onnx", threads=1)

    return run


def assert_same(pixels: Pixels, wanted: Tensor) -> None:
    assert pixels.shape == tuple(wanted.shape)
    assert wanted.std() > 0.05  # or the comparison would say nothing
    assert np.abs(pixels - wanted.numpy()).max() <= LARGEST_DIFFERENCE


def taming_file(folder: Path, state: State) -> Path:
    """A Lightning checkpoint with the loss beside the model."""
    rest = {
        "loss.perceptual_loss.lin0.weight": torch.full((2, 2), torch.nan),  # nobody reads it
        "loss.discriminator.main.0.weight": torch.zeros(3),
    }
    content = {
        "epoch": 3,
        "state_dict": OrderedDict({**state, **rest}),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
    }
    torch.save(content, folder / "last.ckpt")
    return folder / "last.ckpt"


def net2net_file(folder: Path, state: State) -> Path:
    """Within a transformer's checkpoint, and in the format before torch 1.6."""
    content = {f"first_stage_model.{name}": value for name, value in state.items()}
    content["transformer.blocks.0.weight"] = torch.zeros(2)
    path = folder / "net2net.ckpt"
    torch.save({"state_dict": content}, path, _use_new_zipfile_serialization=False)
    return path


def llamagen_file(folder: Path, state: State) -> Path:
    """A training checkpoint: it remembers its command line."""
    used = {"quantize.codebook_used": torch.zeros(65536)}
    content = {
        "model": {**state, **used},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]},
        "steps": 7,
        "args": argparse.Namespace(vq_model="VQ-16"),
    }
    torch.save(content, folder / "vq_ds16_c2i.pt")
    return folder / "vq_ds16_c2i.pt"


def janus_file(folder: Path, state: State) -> Path:
    """Inside a larger model, half precision."""
    content = {f"gen_vision_model.{name}": value.bfloat16() for name, value in state.items()}
    content["language_model.lm_head.weight"] = torch.zeros(2)
    save_file(content, folder / "model.safetensors")
    return folder / "model.safetensors"


def transformers_file(folder: Path, state: State) -> Path:
    """Transformers' port of Janus: the whole model, with the names of its `state_dict`."""
    content = {f"model.vqmodel.{name}": value.contiguous() for name, value in state.items()}
    content["model.generation_embeddings.weight"] = torch.zeros(CODES, 8)
    save_file(content, folder / "model.safetensors")
    return folder / "model.safetensors"


def flax_file(folder: Path, state: State) -> Path:
    return write_flax(folder / "flax_model.msgpack", state)


def flax_file_of_2021(folder: Path, state: State) -> Path:
    """The norms of attention have the axes of what they scale."""
    older = {
        name: value.reshape(1, 1, 1, -1) if "attn" in name and ".norm." in name else value
        for name, value in state.items()
    }
    return flax_file(folder, older)


WRITERS = [
    (TAMING, taming_file),
    (TAMING, net2net_file),
    (LLAMAGEN, llamagen_file),
    (LLAMAGEN, janus_file),
    (FLAX, flax_file),
    (FLAX, flax_file_of_2021),
    (JANUS, transformers_file),
]


@pytest.mark.parametrize(("naming", "write"), WRITERS)
def test_a_foreign_file_gives_the_references_pictures(
    naming: Naming, write: Callable[[Path, State], Path], tmp_path: Path
) -> None:
    """Through our module: every way of writing, every grid."""
    state = make_state(naming)
    checkpoint = read_detokenizer(write(tmp_path, state))
    assert checkpoint.family.name == naming.family
    module = build(checkpoint, settings_of(checkpoint))
    if write is janus_file:
        state = {name: value.bfloat16().float() for name, value in state.items()}
    for shape in SHAPES:
        ids = torch.from_numpy(np.random.default_rng(1).integers(0, CODES, shape))
        with torch.inference_mode():
            assert_same(module(ids).numpy(), decode(naming, state, ids))


@pytest.mark.parametrize(
    ("naming", "write"),
    [
        WRITERS[2],
        # The module has given these pictures above, and an export is compared with its module.
        pytest.param(*WRITERS[0], marks=pytest.mark.parity),
        pytest.param(*WRITERS[4], marks=pytest.mark.parity),
    ],
)
def test_an_exported_file_gives_the_references_pictures(
    naming: Naming,
    write: Callable[[Path, State], Path],
    tmp_path: Path,
    export: Callable[[Path], OnnxDetokenizer],
) -> None:
    state = make_state(naming)
    detokenizer = export(write(tmp_path, state))
    for shape in SHAPES:
        ids = np.random.default_rng(2).integers(0, CODES, shape)
        with torch.inference_mode():
            assert_same(detokenizer.decode(ids), decode(naming, state, torch.from_numpy(ids)))


def small_min_dalle() -> VQGanDetokenizer:
    """min-dalle's own modules, narrow where they let themselves be: attention wants 512 channels,
    so only the middle has it; the forward pass wants 16x16 codes of 256, and 256 pixels."""
    decoder = Decoder.__new__(Decoder)
    nn.Module.__init__(decoder)
    decoder.conv_in = nn.Conv2d(256, 512, 3, padding=1)
    decoder.mid = MiddleLayer()
    decoder.up = nn.ModuleList(
        [
            UpsampleBlock(5, 5, False, False),
            UpsampleBlock(5, 5, False, True),
            UpsampleBlock(5, 5, False, True),
            UpsampleBlock(5, 5, False, True),
            UpsampleBlock(9, 5, False, True),
        ]
    )
    decoder.norm_out = nn.GroupNorm(32, 32)
    decoder.conv_out = nn.Conv2d(32, 3, 3, padding=1)
    module = VQGanDetokenizer.__new__(VQGanDetokenizer)
    nn.Module.__init__(module)
    module.embedding = nn.Embedding(CODES, 256)
    module.post_quant_conv = nn.Conv2d(256, 256, 1)
    module.decoder = decoder
    lively(module)
    return module.eval()


def test_min_dalles_own_detokenizer_and_its_seamless_grid(
    tmp_path: Path, export: Callable[[Path], OnnxDetokenizer]
) -> None:
    """Four pictures: each alone, and all as one grid of 32x32 tokens."""
    peer = small_min_dalle()
    torch.save(peer.state_dict(), tmp_path / "detoker.pt")
    detokenizer = export(tmp_path / "detoker.pt")
    tokens = np.random.default_rng(3).integers(0, CODES, (4, 256))
    with torch.inference_mode():
        alone = peer(False, torch.from_numpy(tokens[:1]))  # [height, width, 3], 0..255
        seamless = peer(True, torch.from_numpy(tokens))
    assert_same(
        detokenizer.decode(tokens[:1].reshape(1, 16, 16)), alone.permute(2, 0, 1)[None] / 255
    )
    # min-dalle lays its pictures out down, then across.
    grid = tokens.reshape(2, 2, 16, 16).transpose(1, 2, 0, 3).reshape(1, 32, 32)
    assert_same(detokenizer.decode(grid), seamless.permute(2, 0, 1)[None] / 255)


def diffusers_peer(attention: bool, groups: int, **other: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vq_model: Any = importlib.import_module("diffusers").VQModel
    low = "AttnUpDecoderBlock2D" if attention else "UpDecoderBlock2D"
    config = {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "up_block_types": (low, "UpDecoderBlock2D"),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "latent_channels": 32,
        "num_vq_embeddings": CODES,
        "vq_embed_dim": 4,
        "norm_num_groups": groups,
        "mid_block_add_attention": attention,
    }
    peer = vq_model(**(config | other)).eval()
    lively(peer)
    with torch.no_grad():
        peer.quantize.embedding.weight.mul_(CODES)
    return peer


def decode_with_diffusers(peer: Any, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        codes = peer.quantize.embedding(ids).movedim(-1, 1)
        wanted: Tensor = peer.decode(codes, force_not_quantize=True).sample
    return (wanted / 2 + 0.5).clamp(0, 1)


def test_diffusers_own_vq_model(tmp_path: Path, export: Callable[[Path], OnnxDetokenizer]) -> None:
    """With attention, and 16 groups where all other families have 32."""
    peer = diffusers_peer(attention=True, groups=16)
    peer.save_pretrained(tmp_path / "vqvae")
    detokenizer = export(tmp_path / "vqvae")
    for shape in SHAPES:
        ids = np.random.default_rng(4).integers(0, CODES, shape)
        assert_same(detokenizer.decode(ids), decode_with_diffusers(peer, torch.from_numpy(ids)))


def test_amuseds_pictures_lie_between_0_and_1(tmp_path: Path) -> None:
    """As its pipeline paints them: it looks ids up, and clips to 0..1."""
    peer = diffusers_peer(attention=False, groups=32, lookup_from_codebook=True, vq_embed_dim=32)
    peer.save_pretrained(tmp_path / "vqvae")
    checkpoint = read_detokenizer(tmp_path / "vqvae")
    assert checkpoint.family.value_range == (0.0, 1.0)
    ids = torch.arange(24).reshape(1, 4, 6)
    with torch.inference_mode():
        pixels = build(checkpoint, settings_of(checkpoint))(ids).numpy()
        wanted = peer.decode(ids, force_not_quantize=True, shape=(1, 4, 6, 32)).sample
    assert_same(pixels, wanted.clip(0, 1))


def test_a_decoder_of_one_level(tmp_path: Path, export: Callable[[Path], OnnxDetokenizer]) -> None:
    """One pixel a token."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",)}
    peer = diffusers_peer(False, 32, block_out_channels=(64,), **blocks)
    peer.save_pretrained(tmp_path / "vqvae")
    detokenizer = export(tmp_path / "vqvae")
    ids = np.random.default_rng(5).integers(0, CODES, (1, 4, 5))
    assert_same(detokenizer.decode(ids), decode_with_diffusers(peer, torch.from_numpy(ids)))


def test_diffusers_without_attention_and_its_configuration(tmp_path: Path) -> None:
    peer = diffusers_peer(attention=False, groups=32)
    peer.save_pretrained(tmp_path / "vqvae")
    checkpoint = read_detokenizer(tmp_path / "vqvae")
    ids = torch.arange(24).reshape(1, 4, 6)
    with torch.inference_mode():
        pixels = build(checkpoint, settings_of(checkpoint))(ids).numpy()
    assert_same(pixels, decode_with_diffusers(peer, ids))
    weights = tmp_path / "vqvae" / "diffusion_pytorch_model.safetensors"
    assert read_detokenizer(weights).sha256 == read_detokenizer(tmp_path / "vqvae").sha256
    config_file = tmp_path / "vqvae" / "config.json"
    config = json.loads(config_file.read_text())
    for key, value, complaint in (
        ("norm_type", "spatial", "norm_type is 'spatial'"),
        ("up_block_types", ["CrossAttnUpBlock2D"], "up_block_types is 'CrossAttnUpBlock2D'"),
        ("_class_name", "AutoencoderKL", "_class_name 'AutoencoderKL'"),
        ("norm_num_groups", "many", "norm_num_groups is 'many'"),
        ("num_vq_embeddings", 41, r"embedding\.weight begins with \[40, 4\].*says \[41, 4\]"),
    ):
        config_file.write_text(json.dumps({**config, key: value}))
        with pytest.raises(CheckpointError, match=complaint):
            read_detokenizer(weights)
    config_file.write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        read_detokenizer(weights)
    config_file.unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: not there"):
        read_detokenizer(weights)
