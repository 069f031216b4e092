"""Random Janus-Pro checkpoints by transformers, in its own files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

BEGIN, END, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
IMAGE_BEGIN, IMAGE_END, IMAGE = "<begin_of_image>", "<end_of_image>", "<image_placeholder>"
SPECIAL = (BEGIN, END, PAD, IMAGE_BEGIN, IMAGE_END, IMAGE)
TAUGHT = (
    "a red house and a blue boat at night",
    "<|User|>: the sea\n\n<|Assistant|>:",
    "über 漢字",
)
# The pre-tokenizer of DeepSeek's files: line breaks, letters, punctuation, numbers apart.
SPLITS = (r"[\r\n]", r"\s?[A-Za-z]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"[一-龥]+")
CODES = 96


@dataclass(frozen=True)
class Sizes:
    """Of a network whose heads are 128 wide; pictures are ``side`` x ``side`` tokens."""

    width: int = 256
    ffn_width: int = 352
    layers: int = 2
    codes: int = CODES
    side: int = 8


def write_tokenizer(path: Path) -> Path:
    """A `tokenizer.json` as DeepSeek's: byte-level BPE behind regular expressions, special tokens
    after the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(each), "isolated") for each in SPLITS]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *splits,
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TAUGHT, trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(path))
    return path


def build(sizes: Sizes, vocabulary: int, seed: int = 0) -> Any:
    """A `JanusForConditionalGeneration` of random weights, float32, in eval mode.

    Weights are scaled so that attention is neither flat nor one-hot, and logits are apart.
    """
    from transformers import JanusConfig, JanusForConditionalGeneration

    torch.manual_seed(seed)
    config = JanusConfig(
        text_config={
            "model_type": "llama",
            "hidden_size": sizes.width,
            "intermediate_size": sizes.ffn_width,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.width // 128,
            "num_key_value_heads": sizes.width // 128,
            "vocab_size": vocabulary,
            "max_position_embeddings": 1024,
            "rms_norm_eps": 1e-6,
        },
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 16 * sizes.side,
            "patch_size": 16,
            "num_image_tokens": sizes.side**2,
            "projection_dim": sizes.width,
        },
        vq_config={
            "num_embeddings": sizes.codes,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "latent_channels": 32,
            "projection_dim": sizes.width,
            "image_token_embed_dim": sizes.width,
        },
    )
    model: Any = JanusForConditionalGeneration(config)
    model.eval()
    with torch.no_grad():
        for name, parameter in model.model.named_parameters():
            if name.startswith(("language_model.", "generation_")):
                if parameter.ndim == 1:
                    base = 0.0 if name.endswith("bias") else 1.0
                    parameter.copy_(base + 0.1 * torch.randn_like(parameter))
                else:
                    scale = 1.0 if "embed" in name else 1.5 / parameter.shape[1] ** 0.5
                    parameter.copy_(scale * torch.randn_like(parameter))
    return model


def write_port(folder: Path, sizes: Sizes, *, shard: str = "50GB", seed: int = 0) -> Path:
    """A folder as transformers writes it: safetensors, in shards of at most ``shard``."""
    model = written(folder, sizes, seed)
    model.save_pretrained(folder, max_shard_size=shard)
    return folder


def written(folder: Path, sizes: Sizes, seed: int) -> Any:
    """The model, with its `tokenizer.json`, and a `model.json` for what files do not say."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(write_tokenizer(folder / "tokenizer.json")))
    settings = {"name": "janus-tiny", "rows": sizes.side, "cols": sizes.side}
    (folder / "model.json").write_text(json.dumps(settings), "utf-8")
    return build(sizes, tokenizer.get_vocab_size(), seed)
