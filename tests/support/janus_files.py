"""Janus in transformers' own code, random, and its checkpoint under both sets of names.

Whole models as they lie on a disk: the language model, the tower that looks at pictures and the
encoder are there too, tiny, for nobody to read.
"""

from __future__ import annotations

import importlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.support.decoders import State, lively

# From transformers' names to deepseek's (its own script translates the other way).
TO_DEEPSEEK = (
    (r"^model\.vqmodel\.", "gen_vision_model."),
    (r"^model\.language_model\.", "language_model.model."),
    (r"^model\.vision_model\.", "vision_model."),
    (r"coder\.(?:up|down)\.(\d+)\.block\.", r"coder.conv_blocks.\1.res."),
    (r"coder\.(?:up|down)\.(\d+)\.", r"coder.conv_blocks.\1."),
    (r"coder\.mid\.block_1\.", "coder.mid.0."),
    (r"coder\.mid\.attn_1\.", "coder.mid.1."),
    (r"coder\.mid\.block_2\.", "coder.mid.2."),
)
SHARDS = 6


def janus(
    *,
    grid: int = 4,
    codes: int = 60,
    base_channels: int = 32,
    channel_multiplier: tuple[int, ...] = (1, 1, 2, 2, 4),
    blocks: int = 1,
    latent_channels: int = 32,
) -> Any:
    """A `JanusForConditionalGeneration` that paints ``grid`` x ``grid`` tokens, on the CPU."""
    patch = 2 ** (len(channel_multiplier) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library: Any = importlib.import_module("transformers.models.janus")
        text = importlib.import_module("transformers").LlamaConfig(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            vocab_size=48,
        )
        vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        vision |= {"image_size": grid * patch, "patch_size": patch, "num_image_tokens": grid**2}
        decoder = {"embed_dim": 8, "num_embeddings": codes, "latent_channels": latent_channels}
        decoder |= {"base_channels": base_channels, "num_res_blocks": blocks}
        decoder |= {"projection_dim": 32, "image_token_embed_dim": 32}
        sizes = {**decoder, "channel_multiplier": list(channel_multiplier)}
        configuration = library.JanusConfig(text_config=text, vision_config=vision, vq_config=sizes)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            peer = library.JanusForConditionalGeneration(configuration).eval()
    lively(peer.model.vqmodel)
    with torch.no_grad():  # codes of many lengths, which are not to be seen
        table = peer.model.vqmodel.quantize.embedding.weight
        table.mul_(torch.linspace(0.2, 5, len(table))[:, None])
    return peer


def paint(peer: Any, ids: Tensor) -> Tensor:
    """Ids [batch, grid, grid] as transformers paints them: [batch, 3, height, width] in 0..1."""
    with torch.inference_mode():
        pixels: Tensor = peer.decode_image_tokens(ids.flatten(1)).movedim(-1, 1)
    return (pixels / 2 + 0.5).clamp(0, 1)


def transformers_folder(folder: Path, peer: Any) -> Path:
    """As `save_pretrained` writes it, in shards."""
    peer.save_pretrained(folder, max_shard_size="200KB")
    assert (folder / "model.safetensors.index.json").is_file()
    return folder


def deepseek_folder(folder: Path, peer: Any) -> Path:
    """Deepseek's names in pickles: the language model in the last of them."""
    state = deepseek_state(peer)
    folder.mkdir()
    names = sorted(state)  # gen_vision_model…, language_model…, vision_model…
    places: dict[str, str] = {}
    for number in range(SHARDS):
        file = f"pytorch_model-{number + 1:05}-of-{SHARDS:05}.bin"
        part = names[number * len(names) // SHARDS : (number + 1) * len(names) // SHARDS]
        torch.save({name: state[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), "utf-8")
    return folder


def deepseek_state(peer: Any) -> State:
    """All tensors under deepseek's names, and what its quantiser counts beside."""
    state: State = {"gen_vision_model.quantize.codebook_used": torch.zeros(65536)}
    for name, value in peer.state_dict().items():
        for pattern, replacement in TO_DEEPSEEK:
            name = re.sub(pattern, replacement, name)
        state[name] = value.clone()
    return state
