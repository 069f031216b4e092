"""Random weights in min-dalle's own file format, at the real sizes of DALL·E Mini and Mega.

What a step costs does not depend on the values, so long as they stay finite; scales are chosen so
that activations look like a trained model's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx.parser
from onnx import helper, numpy_helper

IMAGE_TOKENS: Final = 256
TEXT_TOKENS: Final = 64
CODES: Final = 16_384
DETOKENIZER: Final = "detokenizer.onnx"


@dataclass(frozen=True)
class Sizes:
    """As in min-dalle's own constructor; layers may be fewer than the real model's."""

    layers: int
    width: int
    heads: int
    glu_width: int
    text_vocabulary: int
    image_vocabulary: int


MINI: Final = Sizes(12, 1024, 16, 2730, 50_264, 16_384)
MEGA: Final = Sizes(24, 2048, 32, 4096, 50_272, 16_415)
SIZES: Final = {"mini": MINI, "mega": MEGA, "small": Sizes(2, 256, 4, 512, 512, 16_384)}

# LayerNorms whose scale the official checkpoints leave out (force_ln_scale is off).
WITHOUT_SCALE: Final = ("pre_self_attn_layer_norm", "pre_encoder_attn_layer_norm", "ln0", "ln1")
PIECES: Final = ("<s>", "<pad>", "</s>", "<unk>", "Ġ", *"abcdefghijklmnopqrstuvwxyz,.")


def build(sizes: Sizes, device: str = "cpu") -> tuple[Any, Any]:
    """min-dalle's encoder and decoder modules, without its downloads."""
    from ..min_dalle_modules import DalleBartDecoder, DalleBartEncoder

    encoder = DalleBartEncoder(
        layer_count=sizes.layers,
        embed_count=sizes.width,
        attention_head_count=sizes.heads,
        text_vocab_count=sizes.text_vocabulary,
        text_token_count=TEXT_TOKENS,
        glu_embed_count=sizes.glu_width,
        device=device,
    )
    decoder = DalleBartDecoder(
        image_vocab_count=sizes.image_vocabulary,
        embed_count=sizes.width,
        attention_head_count=sizes.heads,
        glu_embed_count=sizes.glu_width,
        layer_count=sizes.layers,
        device=device,
    )
    return encoder.eval(), decoder.eval()


def write_weights(folder: Path, sizes: Sizes, seed: int = 0) -> None:
    """`encoder.pt` and `decoder.pt`, float16, of random values."""
    import torch  # here: our side's processes have none, as a server has none

    generator = torch.Generator().manual_seed(seed)
    for module, file in zip(build(sizes), ("encoder.pt", "decoder.pt"), strict=True):
        state = {}
        for name, value in module.state_dict().items():
            if name.endswith(".weight") and name.split(".")[-2] in WITHOUT_SCALE:
                continue
            noise = torch.empty_like(value).normal_(generator=generator)
            if name.startswith("embed_"):
                noise *= 0.5
            elif value.dim() == 2:
                noise *= value.shape[1] ** -0.5
            else:
                noise = noise * 0.1 + (1.0 if name.endswith(".weight") else 0.0)
            state[name] = noise.half()
        torch.save(state, folder / file)


def need_peer() -> None:
    """Raise ModuleNotFoundError where min-dalle or torch is missing, before anything is written."""
    for name in ("min_dalle", "torch"):
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def random_model(name: str, cache: Path, tell: Callable[[str], object] = lambda text: None) -> Path:
    """The folder of a random model of `SIZES`, written into ``cache`` unless it is there."""
    folder = cache / "bench" / f"random-{name}"
    if not (folder / DETOKENIZER).exists():
        need_peer()
        tell(f"writing random weights of the size of {name} into {folder} …")
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_weights(partial, SIZES[name])
        vocabulary = {piece: index for index, piece in enumerate(PIECES)}
        (partial / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
        (partial / "merges.txt").write_text("#version: 0.2\n", "utf-8")
        write_detokenizer(partial / DETOKENIZER, SIZES[name].image_vocabulary)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return folder


def write_detokenizer(path: Path, codes: int) -> None:
    """One grey a code: a server must have a detokenizer, though nothing here is painted."""
    shades = np.linspace(0, 1, codes, dtype=np.float32)[:, None].repeat(3, axis=1)
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]>'
        "detokenizer (int64[batch, rows, cols] ids) => (float[batch, 3, rows, cols] pixels)"
        "{ shaded = Gather(shades, ids) pixels = Transpose<perm = [0, 3, 1, 2]>(shaded) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(shades, "shades"))
    notes = {"format": "1", "kind": "full", "precision": "fp32", "model": "random"}
    notes |= {"codebook_size": str(codes), "pixels_per_token": "1"}
    helper.set_model_props(model, {f"rowcast.{key}": value for key, value in notes.items()})
    path.write_bytes(model.SerializeToString())
