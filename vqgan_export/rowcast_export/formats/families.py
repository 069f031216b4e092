"""Families of VQGAN decoders: the signature of each, its constants and its names of tensors.

All are one decoder (``vqgan.py``). Sizes, levels and attention follow from the tensors; what
tensors do not say stands in ``FAMILIES``, and their names in ``renamed``. This module must not know
files: it sees names only.

========== =================================================== ==================================
family     who writes it                                       names and constants: github.com/...
========== =================================================== ==================================
min-dalle  min-dalle's ``detoker.pt``; our ``detokenizer.*``       kuprel/min-dalle
taming     taming-transformers' ``.ckpt``; Chameleon, Anole      CompVis/taming-transformers
flax       dalle-mini's VQGAN, ``flax_model.msgpack``            patil-suraj/vqgan-jax
diffusers  ``VQModel``, a folder with ``config.json``              huggingface/diffusers
llamagen   LlamaGen's VQ-8 and VQ-16; Janus                    FoundationVision/LlamaGen
janus      Janus as transformers writes it (``JanusVQVAE``)       huggingface/transformers
========== =================================================== ==================================

The last calls its tensors as taming does, but ``up.0`` is its lowest level. What tells them apart
is which end has no upsampling: the highest level.

vqgan-jax runs all attention layers of a level after each residual block; the weights come from
taming's, where each block has its own, and so they are used here, as in min-dalle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Family:
    """One row of the table. ``value_range`` is the network's own black and white."""

    name: str
    codebook: str  # name of the table of code vectors
    levels: str  # how the names of the levels begin; together with the codebook: the signature
    group_norm_epsilon: float = 1e-6
    value_range: tuple[float, float] = (-1.0, 1.0)
    unit_codes: bool = False  # rows of the codebook are scaled to length 1 before they are used
    kernels_last: bool = False  # convolution weights are [height, width, in, out]
    needs_config: bool = False  # a config.json beside the tensors says what they do not


PLAIN: Final = Family("min-dalle", "embedding.weight", "decoder.up.", 1e-5, (0.0, 1.0))
TAMING: Final = Family("taming", "quantize.embedding.weight", "decoder.up.")

FAMILIES: Final = (
    PLAIN,
    TAMING,
    Family(
        "flax", "quantize.embedding.embedding", "decoder.up_0.", 1e-6, (0.0, 1.0), kernels_last=True
    ),
    Family("diffusers", "quantize.embedding.weight", "decoder.up_blocks.", needs_config=True),
    Family("llamagen", "quantize.embedding.weight", "decoder.conv_blocks.", unit_codes=True),
)
JANUS: Final = Family("janus", TAMING.codebook, TAMING.levels, unit_codes=True)

# Substitutions that give min-dalle's names, in order. ``up.~i`` counts from the other end.
SUBSTITUTIONS: Final = {
    "flax": (
        (r"^decoder\.up_(\d+)\.", r"decoder.up.\1."),
        (r"^(decoder\.up\.\d+)\.(block|attn)_(\d+)\.", r"\1.\2.\3."),
        (r"\.(?:kernel|scale)$", ".weight"),
    ),
    "diffusers": (
        (r"^decoder\.up_blocks\.(\d+)\.", r"decoder.up.~\1."),
        (r"^(decoder\.up\.~\d+)\.resnets\.", r"\1.block."),
        (r"^(decoder\.up\.~\d+)\.attentions\.", r"\1.attn."),
        (r"\.upsamplers\.0\.conv\.", ".upsample.conv."),
        (r"\.conv_shortcut\.", ".nin_shortcut."),
        (r"^decoder\.mid_block\.resnets\.0\.", "decoder.mid.block_1."),
        (r"^decoder\.mid_block\.attentions\.0\.", "decoder.mid.attn_1."),
        (r"^decoder\.mid_block\.resnets\.1\.", "decoder.mid.block_2."),
        (r"^decoder\.conv_norm_out\.", "decoder.norm_out."),
        (r"\.group_norm\.", ".norm."),
        (r"\.(?:to_q|query)\.", ".q."),
        (r"\.(?:to_k|key)\.", ".k."),
        (r"\.(?:to_v|value)\.", ".v."),
        (r"\.(?:to_out\.0|proj_attn)\.", ".proj_out."),
    ),
    "llamagen": (
        (r"^decoder\.conv_blocks\.(\d+)\.", r"decoder.up.~\1."),
        (r"^(decoder\.up\.~\d+)\.res\.", r"\1.block."),
        (r"^decoder\.mid\.0\.", "decoder.mid.block_1."),
        (r"^decoder\.mid\.1\.", "decoder.mid.attn_1."),
        (r"^decoder\.mid\.2\.", "decoder.mid.block_2."),
    ),
    "janus": ((r"^decoder\.up\.(\d+)\.", r"decoder.up.~\1."),),
}
AVERAGED: Final = re.compile(r"(?:^|[._])ema[._]")  # `ema.`, `ema_model.`, `state_dict_ema.`, …
CONDITION: Final = re.compile(r"(?:^|\.)cond_stage_model\.$")  # taming's: of what is asked for


def signatures() -> str:
    """Names and signatures of the known families, for an error message."""
    known = (*FAMILIES, JANUS)
    return "; ".join(f"{family.name} ({family.codebook}, {family.levels}*)" for family in known)


def find_decoders(names: Iterable[str]) -> list[tuple[str, tuple[Family, ...]]]:
    """Decoders among the names: (prefix, families whose levels lie there) for each.

    ``state_dict.``, ``model.``, ``first_stage_model.`` and the like are all prefixes. Where a
    training checkpoint holds the weights and their running average, the average is meant; where a
    transformer's holds the decoder of its pictures and that of its conditions, the former.
    """
    found: dict[str, dict[str, Family]] = {}
    for name in names:
        for family in FAMILIES:
            prefix, marker, _ = name.partition(family.levels)
            if marker and (not prefix or prefix.endswith(".")):
                found.setdefault(prefix, {})[family.name] = family
    meant = [prefix for prefix in found if not CONDITION.search(prefix)] or list(found)
    meant = [prefix for prefix in meant if AVERAGED.search(prefix)] or meant
    return [(prefix, tuple(found[prefix].values())) for prefix in meant]


def begins_lowest(names: Iterable[str]) -> bool:
    """True if ``decoder.up.0`` is raised and the last ``decoder.up`` is not: Janus' order."""
    raised: dict[int, bool] = {}
    for name in names:
        if level := re.match(r"decoder\.up\.(\d+)\.(upsample\.)?", name):
            raised[int(level[1])] = raised.get(int(level[1]), False) or bool(level[2])
    return raised.get(0, False) and not raised[max(raised)]


def is_raised(names: Iterable[str]) -> bool:
    """True if any level of the decoder has an upsampling: of one alone no order can be told."""
    return any(re.match(r"decoder\.up\.\d+\.upsample\.", name) for name in names)


def renamed(family: Family, names: Iterable[str]) -> dict[str, str]:
    """Map from their name to ours of all tensors of the decoder; others are left out.

    ``names`` are without the prefix. What is unknown inside the decoder keeps its name, so that it
    is complained of rather than ignored.
    """
    chosen = {}
    for name in names:
        if name == family.codebook:
            chosen[name] = PLAIN.codebook
        elif name.startswith(("decoder.", "post_quant_conv.")):
            ours = name
            for pattern, replacement in SUBSTITUTIONS.get(family.name, ()):
                ours = re.sub(pattern, replacement, ours)
            chosen[name] = ours
    counted = [re.match(r"decoder\.up\.~(\d+)\.", ours) for ours in chosen.values()]
    last = max((int(match[1]) for match in counted if match), default=0)
    return {
        name: re.sub(r"\.~(\d+)\.", lambda match: f".{last - int(match[1])}.", ours)
        for name, ours in chosen.items()
    }
