"""The names of Janus-Pro's tensors in deepseek's files and in transformers', and ours.

Only what drawing needs is taken: neither the vision tower nor the text's head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ...errors import ModelError
from ...network.tensors import Tensors
from .sizes import EMBED_CODES, EMBED_TEXT, JanusSizes, tensors_of

# The beginning of a name, in deepseek's files, transformers' or ours, and what it is here.
BEGINNINGS: Final = {
    "language_model.model.": "",
    "model.language_model.": "",
    "model.generation_embeddings.": "gen_embed.",
    "model.generation_aligner.fc1.": "gen_aligner.layers.0.",
    "model.generation_aligner.hidden_layers.0.": "gen_aligner.layers.2.",
    "model.generation_head.proj_out.": "gen_head.output_mlp_projector.",
    "model.generation_head.vision_head.": "gen_head.vision_head.",
    "embed_tokens.": "embed_tokens.",
    "layers.": "layers.",
    "norm.": "norm.",
    "gen_embed.": "gen_embed.",
    "gen_aligner.": "gen_aligner.",
    "gen_head.": "gen_head.",
}
DERIVED: Final = "rotary_emb.inv_freq"  # in older files: what follows from the width of a head
DECODER: Final = re.compile(r"^(gen_vision_model|model\.vqmodel)\.(?!encoder\.|quant_conv\.)")


def our_names(names: Iterable[str]) -> dict[str, str]:
    """The tensors of the network by our names -> by theirs; empty where these are not Janus'."""
    ours = {}
    for name in names:
        for theirs, here in BEGINNINGS.items():
            if name.startswith(theirs) and not name.endswith(DERIVED):
                ours[here + name.removeprefix(theirs)] = name
                break
    return ours if EMBED_CODES in ours else {}


def decoder_names(names: Iterable[str]) -> list[str]:
    """The tensors of the decoder that clients paint with, by their names in the file."""
    return [name for name in names if DECODER.match(name)]


def check_janus(tensors: Tensors) -> JanusSizes:
    """The sizes of a network, by our names. Raises ModelError, naming file and tensor, unless it is
    whole."""
    for name in (EMBED_TEXT, EMBED_CODES, "layers.0.mlp.gate_proj.weight"):
        if name not in tensors or len(tensors.shape(name)) != 2:
            raise ModelError(
                f"{tensors.path}: {name} is missing or no matrix, so this is no whole Janus-Pro; "
                "fetch or convert it anew"
            )
    try:
        sizes = JanusSizes.of(tensors)
    except ValueError as error:
        raise ModelError(f"{tensors.path}: {error}") from error
    expected = tensors_of(sizes)
    for name, shape in expected.items():
        if name not in tensors:
            raise ModelError(
                f"{tensors.path}: {name} is missing, so this is no whole Janus-Pro; fetch or "
                "convert it anew"
            )
        if tensors.shape(name) != shape:
            raise ModelError(
                f"{tensors.path}: {name} is of shape {_spelled(tensors.shape(name))}, needs "
                f"{_spelled(shape)}"
            )
    for name in tensors:
        if name not in expected:  # it would change the numbers: do not guess
            raise ModelError(f"{tensors.path}: {name} is not part of this architecture; remove it")
    return sizes


def _spelled(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
