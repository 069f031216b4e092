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
GROUPS: Final = {"encoder": ENCODER_GROUPS, "decoder": DECODER_GROUPS}
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
    for name, stored in tensors.entries.items():
        try:
            half, renamed = _renamed(name, stored)
        except KeyError as error:
            raise ModelError(
                f"{tensors.path}: {name} is not a tensor of dalle-mini's flax checkpoints as they "
                "are known here (model.encoder.*, model.decoder.*, lm_head.kernel; layers stacked "
                "in FlaxBart…Layers or numbered FlaxBart…Layer_N)"
            ) from error
        halves[half] |= renamed
    return Tensors(tensors.path, halves["encoder"]), Tensors(tensors.path, halves["decoder"])


def _renamed(name: str, stored: StoredTensor) -> tuple[str, dict[str, StoredTensor]]:
    """The half of a tensor, and itself under its new name, or its layers under theirs. Raises
    KeyError for an unknown name."""
    *path, leaf = name.split(".")
    turned = leaf == "kernel"
    match path:
        case ["lm_head"]:
            return "decoder", {f"lm_head.{LEAVES[leaf]}": _part(stored, turned)}
        case ["model", ("encoder" | "decoder") as half, module]:
            return half, {f"{module}.{LEAVES[leaf]}": _part(stored, turned)}
        case ["model", ("encoder" | "decoder") as half, "layers", layers, group, *inner]:
            inner = [GLU_PARTS[part] for part in inner] if group == "GLU_0" else inner
            target = ".".join([GROUPS[half][group], *inner, LEAVES[leaf]])
            kind = f"FlaxBart{half.title()}Layer"
            if layers == f"{kind}s":
                return half, {
                    f"layers.{layer}.{target}": _part(stored, turned, layer)
                    for layer in range(stored.shape[0])
                }
            if numbered := re.fullmatch(rf"{kind}_(\d+)", layers):
                return half, {f"layers.{numbered[1]}.{target}": _part(stored, turned)}
    raise KeyError(name)


def _part(stored: StoredTensor, turned: bool, layer: int | None = None) -> StoredTensor:
    """A tensor, or the entry of a ``layer`` in it. ``turned``, a kernel [in, out] becomes torch's
    weight [out, in]."""

    def read() -> Array:
        array: Array = stored.read() if layer is None else stored.read()[layer]
        return array.T if turned else array

    shape = stored.shape if layer is None else stored.shape[1:]
    return StoredTensor(shape[::-1] if turned else shape, stored.dtype, read)
