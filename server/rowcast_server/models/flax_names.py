"""Names and layouts of dalle-mini's official flax checkpoints, translated to min-dalle's.

`flax_model.msgpack` of DALL-E Mini and Mega: `model.encoder…`, `model.decoder…` and `lm_head`;
kernels are transposed. The layers are one stacked array per tensor (`FlaxBart…Layers`, first axis
the layer), as in the official files, or one group a layer (`FlaxBart…Layer_N`). Other spellings are
refused. Source: https://github.com/borisdayma/dalle-mini, src/dalle_mini/model/modeling.py.
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import ModelError
from ..network.tensors import Array, StoredTensor, Tensors

# Inside a layer: group of modeling.py -> name in min-dalle's files.
ENCODER_GROUPS: Final = {
    "LayerNorm_0": "pre_self_attn_layer_norm",
    "FlaxBartAttention_0": "self_attn",
    "LayerNorm_1": "self_attn_layer_norm",
    "GLU_0": "glu",
}
DECODER_GROUPS: Final = ENCODER_GROUPS | {
    "LayerNorm_2": "pre_encoder_attn_layer_norm",
    "FlaxBartAttention_1": "encoder_attn",
    "LayerNorm_3": "encoder_attn_layer_norm",
}
GLU_PARTS: Final = {
    "LayerNorm_0": "ln0",
    "LayerNorm_1": "ln1",
    "Dense_0": "fc0",
    "Dense_1": "fc1",
    "Dense_2": "fc2",
}
LEAVES: Final = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}


def is_flax(tensors: Tensors) -> bool:
    return any(name.startswith("model.encoder.") for name in tensors)


def encoder_and_decoder(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """Both halves under min-dalle's names. Raises ModelError for an unknown name."""
    halves: dict[str, dict[str, StoredTensor]] = {"encoder": {}, "decoder": {}}
    for name in tensors:
        stored = StoredTensor(
            tensors.shape(name),
            tensors.dtype(name),
            lambda name=name: tensors.stored(name),  # type: ignore[misc]
        )
        parts = name.split(".")
        if parts[0] == "lm_head":
            half, rest = "decoder", parts
        elif parts[0] == "model" and len(parts) > 2 and parts[1] in halves:
            half, rest = parts[1], parts[2:]
        else:
            raise _unknown(tensors, name)
        if rest[0] == "layers":
            halves[half] |= _layer_tensors(tensors, name, half, rest[1:], stored)
        else:
            halves[half][_plain(tensors, name, rest)] = _oriented(rest[-1], stored)
    return Tensors(tensors.path, halves["encoder"]), Tensors(tensors.path, halves["decoder"])


def _plain(tensors: Tensors, name: str, parts: list[str]) -> str:
    if len(parts) != 2 or parts[1] not in LEAVES:
        raise _unknown(tensors, name)
    return f"{parts[0]}.{LEAVES[parts[1]]}"


def _layer_tensors(
    tensors: Tensors, name: str, half: str, parts: list[str], stored: StoredTensor
) -> dict[str, StoredTensor]:
    """One tensor of one layer, or of every layer."""
    if len(parts) < 3 or parts[-1] not in LEAVES:
        raise _unknown(tensors, name)
    group, *inner = parts[1:-1]
    groups = ENCODER_GROUPS if half == "encoder" else DECODER_GROUPS
    try:
        path = [groups[group], *([GLU_PARTS[inner[0]]] if group == "GLU_0" else inner)]
    except (KeyError, IndexError):
        raise _unknown(tensors, name) from None
    target = ".".join([*path, LEAVES[parts[-1]]])
    kind = f"FlaxBart{half.title()}Layer"
    if parts[0] == f"{kind}s":
        return {
            f"layers.{layer}.{target}": _oriented(parts[-1], _entry(stored, layer))
            for layer in range(stored.shape[0])
        }
    if numbered := re.fullmatch(rf"{kind}_(\d+)", parts[0]):
        return {f"layers.{numbered[1]}.{target}": _oriented(parts[-1], stored)}
    raise _unknown(tensors, name)


def _entry(stored: StoredTensor, layer: int) -> StoredTensor:
    def read() -> Array:
        array: Array = stored.read()[layer]
        return array

    return StoredTensor(stored.shape[1:], stored.dtype, read)


def _oriented(leaf: str, stored: StoredTensor) -> StoredTensor:
    """A kernel [in, out] as torch's weight [out, in]; other tensors as they are."""
    if leaf != "kernel":
        return stored
    return StoredTensor(stored.shape[::-1], stored.dtype, lambda: stored.read().T)


def _unknown(tensors: Tensors, name: str) -> ModelError:
    return ModelError(
        f"{tensors.path}: {name} is not a tensor of dalle-mini's flax checkpoints as they are "
        "known here (model.encoder.*, model.decoder.*, lm_head.kernel; layers stacked in "
        "FlaxBart…Layers or numbered FlaxBart…Layer_N)"
    )
