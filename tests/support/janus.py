"""Random Janus-Pro checkpoints in transformers' files and in deepseek's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from rowcast_bench.engine import janus_model
from rowcast_bench.engine.janus_model import (
    BEGIN,
    CODES,
    IMAGE_BEGIN,
    PAD,
    Sizes,
    write_tokenizer,
    written,
)
from torch import Tensor

__all__ = [
    "BEGIN",
    "CODES",
    "IMAGE_BEGIN",
    "PAD",
    "Sizes",
    "write_deepseek",
    "write_port",
    "write_tokenizer",
]

TINY = Sizes()


def write_port(folder: Path, sizes: Sizes = TINY, *, shard: str = "50GB", seed: int = 0) -> Path:
    """A folder as transformers writes it: safetensors, in shards of at most ``shard``."""
    return janus_model.write_port(folder, sizes, shard=shard, seed=seed)


def write_deepseek(folder: Path, sizes: Sizes = TINY, *, shards: int = 1, seed: int = 0) -> Path:
    """A folder with deepseek's names: one `pytorch_model.bin`, or ``shards`` of them and their
    index."""
    state = dict(_renamed(written(folder, sizes, seed).state_dict()))
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return folder
    names = sorted(state)
    where: dict[str, str] = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = names[number::shards]
        torch.save({name: state[name] for name in part}, folder / file)
        where |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), "utf-8")
    return folder


DEEPSEEK = (
    (r"^model\.language_model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.generation_embeddings\.", "gen_embed."),
    (r"^model\.generation_aligner\.fc1\.", "gen_aligner.layers.0."),
    (r"^model\.generation_aligner\.hidden_layers\.0\.", "gen_aligner.layers.2."),
    (r"^model\.generation_head\.proj_out\.", "gen_head.output_mlp_projector."),
    (r"^model\.generation_head\.", "gen_head."),
    (
        r"^model\.vqmodel\.(encoder|decoder)\.(?:up|down)\.(\d+)\.",
        r"model.vqmodel.\1.conv_blocks.\2.",
    ),
    (r"(conv_blocks\.\d+)\.block\.", r"\1.res."),
    (r"\.mid\.block_1\.", ".mid.0."),
    (r"\.mid\.attn_1\.", ".mid.1."),
    (r"\.mid\.block_2\.", ".mid.2."),
    (r"^model\.vqmodel\.", "gen_vision_model."),
    (r"^model\.", ""),
)


def _renamed(state: dict[str, Tensor]) -> Iterable[tuple[str, Tensor]]:
    for name, tensor in state.items():
        for pattern, theirs in DEEPSEEK:
            name = re.sub(pattern, theirs, name)
        yield name, tensor.clone()
