"""The ``config.json`` of a diffusers ``VQModel``: settings that its tensors do not tell.

Sizes follow from the tensors all the same; where the two disagree, the error names the tensor. What
this decoder cannot do (spatial norms, another activation) is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from .families import Family
from .stored import Array, CheckpointError

FILE_NAME: Final = "config.json"
LARGEST: Final = 1_000_000  # bytes; real ones have under a thousand
CLASS: Final = "VQModel"
BLOCKS: Final = ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")
ACTIVATIONS: Final = ("silu", "swish")
NORM_GROUPS: Final = 32  # diffusers' own default


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a VQModel. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(
            f"{path}: not there; a diffusers VQModel needs its {FILE_NAME} beside the tensors"
        )
    if path.stat().st_size > LARGEST:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes are no configuration")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("_class_name") != CLASS:
        found = config.get("_class_name") if isinstance(config, dict) else config
        raise CheckpointError(f"{path}: found _class_name {found!r:.80}; known: {CLASS}")
    _refuse(path, config, "norm_type", ("group",))
    _refuse(path, config, "act_fn", ACTIVATIONS)
    for block in config.get("up_block_types", ()):
        _refuse(path, {"up_block_types": block}, "up_block_types", BLOCKS)
    return config


def _refuse(path: Path, config: Mapping[str, Any], key: str, known: tuple[str, ...]) -> None:
    found = config.get(key, known[0])
    if found not in known:
        raise CheckpointError(f"{path}: {key} is {found!r:.80}; known: {', '.join(known)}")


def notes_of(path: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The settings that only the configuration knows, as notes. Raises CheckpointError."""
    groups = config.get("norm_num_groups", NORM_GROUPS)
    if not isinstance(groups, int) or not 0 < groups <= 4096:
        raise CheckpointError(f"{path}: norm_num_groups is {groups!r:.80}")
    return {"norm_groups": str(groups)}


def variant_of(family: Family, config: Mapping[str, Any]) -> Family:
    """The family with the black and white of the pipeline that such a configuration is for.

    A VQModel does not say what its values mean. aMUSEd's, which alone looks ids up
    (``lookup_from_codebook``), is painted as ``clip(0, 1)``; all others as -1..1.
    """
    if config.get("lookup_from_codebook"):
        return replace(family, name=f"{family.name}' aMUSEd", value_range=(0.0, 1.0))
    return family


def names_model(path: Path, name: str) -> bool:
    """True if a configuration of transformers' is there, whose ``model_type`` begins so."""
    try:
        if path.stat().st_size > LARGEST:
            return False
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and str(config.get("model_type")).startswith(name)


def check_tensors(path: Path, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
    """Raise CheckpointError unless the configuration fits the tensors (under our names)."""
    widths = config.get("block_out_channels") or [None]
    latent = config.get("latent_channels")
    codes = config.get("vq_embed_dim") or latent
    said = (
        ("embedding.weight", (config.get("num_vq_embeddings"), codes)),
        ("post_quant_conv.weight", (latent, codes)),
        ("decoder.conv_in.weight", (widths[-1], latent)),
        ("decoder.conv_out.weight", (config.get("out_channels"), widths[0])),
    )
    for name, wanted in said:
        if name not in tensors:
            continue  # whoever builds the decoder says so
        shape = tuple(tensors[name].shape[:2])
        if any(want not in (None, have) for want, have in zip(wanted, shape, strict=False)):
            raise CheckpointError(
                f"{path.parent}: the tensor {name} begins with {list(shape)}, "
                f"but {path.name} says {list(wanted)}"
            )
