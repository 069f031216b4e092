"""The same tiny transformer in every layout that a model may come in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgpack
import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray

from tests.support.tiny_model import WORDS, random_weights, tiny_detokenizer, vocabulary_of

Weights = dict[str, NDArray[np.float16]]
CODES = 96
WITHOUT_SCALE = "pre_self_attn_layer_norm.weight"  # left out, as in the official files

# modeling.py's groups in a layer, by min-dalle's names
FLAX_GROUPS = {
    "pre_self_attn_layer_norm": "LayerNorm_0",
    "self_attn": "FlaxBartAttention_0",
    "self_attn_layer_norm": "LayerNorm_1",
    "pre_encoder_attn_layer_norm": "LayerNorm_2",
    "encoder_attn": "FlaxBartAttention_1",
    "encoder_attn_layer_norm": "LayerNorm_3",
    "glu": "GLU_0",
}
FLAX_GLU = {
    "ln0": "LayerNorm_0",
    "ln1": "LayerNorm_1",
    "fc0": "Dense_0",
    "fc1": "Dense_1",
    "fc2": "Dense_2",
}


def halves(seed: int = 0, width: int = 64) -> tuple[Weights, Weights]:
    """Encoder and decoder of two layers: 4x4 grids of 96 codes."""
    pair = random_weights(
        np.random.default_rng(seed), len(vocabulary_of(WORDS)), 16, CODES, width, 96, 2, 2
    )
    encoder, decoder = (
        {name: value for name, value in half.items() if not name.endswith(WITHOUT_SCALE)}
        for half in pair
    )
    return encoder, decoder


def write_text_files(folder: Path, suffix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"vocab{suffix}.json").write_text(json.dumps(vocabulary_of(WORDS)), "utf-8")
    (folder / f"merges{suffix}.txt").write_text("#version: 0.2\n", "utf-8")


def write_torch(path: Path, weights: Weights, **how: bool) -> Path:
    torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, path, **how)
    return path


def write_min_dalle_folder(folder: Path, suffix: str = "", **how: bool) -> Path:
    write_text_files(folder, suffix)
    encoder, decoder = halves()
    write_torch(folder / f"encoder{suffix}.pt", encoder, **how)
    write_torch(folder / f"decoder{suffix}.pt", decoder, **how)
    tiny_detokenizer(folder / "detokenizer.onnx", CODES)
    return folder


def write_safetensors_folder(folder: Path) -> Path:
    write_text_files(folder)
    encoder, decoder = halves()
    safetensors.numpy.save_file(encoder, folder / "encoder.safetensors")
    safetensors.numpy.save_file(decoder, folder / "decoder.safetensors")
    tiny_detokenizer(folder / "detokenizer.onnx", CODES)
    return folder


def write_flax_folder(folder: Path, stacked: bool, chunked: bool = False) -> Path:
    write_text_files(folder)
    tree = flax_tree(*halves(), stacked=stacked)
    (folder / "flax_model.msgpack").write_bytes(flax_bytes(tree, chunked))
    tiny_detokenizer(folder / "detokenizer.onnx", CODES)
    return folder


def flax_tree(encoder: Weights, decoder: Weights, stacked: bool) -> dict[str, object]:
    """dalle-mini's tree of parameters: kernels transposed, layers stacked or numbered."""
    flat: dict[tuple[str, ...], NDArray[np.float16]] = {}
    for half, weights in (("encoder", encoder), ("decoder", decoder)):
        for name, value in weights.items():
            *path, leaf = name.split(".")
            if leaf == "weight":
                is_norm = re.search(r"(layer_norm|layernorm_embedding|final_ln|ln[01])$", path[-1])
                leaf = "scale" if is_norm else "kernel"
                leaf = "embedding" if path[-1].startswith("embed_") else leaf
            if leaf == "kernel":
                value = value.T
            if path[0] == "lm_head":
                flat["lm_head", leaf] = value
            elif path[0] == "layers":
                group, *inner = path[2:]
                if group == "glu":
                    inner = [FLAX_GLU[inner[0]]]
                kind = f"FlaxBart{half.title()}Layer"
                place = ("model", half, "layers", f"{kind}_{path[1]}")
                flat[(*place, FLAX_GROUPS[group], *inner, leaf)] = value
            else:
                flat[("model", half, *path, leaf)] = value
    return _nested(_stack(flat) if stacked else flat)


def _stack(
    flat: dict[tuple[str, ...], NDArray[np.float16]],
) -> dict[tuple[str, ...], NDArray[np.float16]]:
    together: dict[tuple[str, ...], list[NDArray[np.float16]]] = {}
    single = {}
    for path, value in flat.items():  # layers come in order
        if len(path) > 3 and path[2] == "layers":
            kind = re.sub(r"_\d+$", "s", path[3])
            together.setdefault((*path[:3], kind, *path[4:]), []).append(value)
        else:
            single[path] = value
    return single | {path: np.stack(values) for path, values in together.items()}


def _nested(flat: dict[tuple[str, ...], NDArray[np.float16]]) -> dict[str, object]:
    root: dict[str, object] = {}
    for path, value in flat.items():
        node = root
        for key in path[:-1]:
            node = node.setdefault(key, {})  # type: ignore[assignment]
        node[path[-1]] = value
    return root


def flax_bytes(tree: dict[str, object], chunked: bool = False) -> bytes:
    """As `flax.serialization.msgpack_serialize`; large arrays may be kept in chunks."""

    def array(value: NDArray[np.generic]) -> msgpack.ExtType:
        content = np.ascontiguousarray(value).tobytes()
        return msgpack.ExtType(1, msgpack.packb((value.shape, value.dtype.name, content)))

    def pack(node: object) -> object:
        if isinstance(node, dict):
            return {key: pack(value) for key, value in node.items()}
        assert isinstance(node, np.ndarray)
        if not chunked or node.size < 4_000:
            return array(node)
        pieces = np.array_split(node.reshape(-1), 3)
        return {
            "__msgpack_chunked_array__": True,
            "shape": {str(i): size for i, size in enumerate(node.shape)},
            "chunks": {str(i): array(piece) for i, piece in enumerate(pieces)},
        }

    packed: bytes = msgpack.packb(pack(tree))
    return packed
