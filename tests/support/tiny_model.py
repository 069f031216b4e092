"""Model folders of random weights in the real formats: small, quick, and no torch.

`tiny_model` draws 4x4 grids of 96 codes; its detokenizer is a real ONNX file that paints each code
in a colour of its own. A palette is there where a test puts it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import safetensors.numpy
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PIXELS_PER_TOKEN = 4
WORDS = [
    "a",
    "red",
    "blue",
    "house",
    "tree",
    "boat",
    "sea",
    "sun",
    "moon",
    "at",
    "night",
    "in",
    "the",
    "over",
    "and",
]


def tiny_model(
    folder: Path,
    *,
    rows: int = 4,
    cols: int = 4,
    codebook_size: int = 96,
    width: int = 64,
    glu_width: int = 96,
    encoder_layers: int = 1,
    decoder_layers: int = 2,
    seed: int = 0,
    name: str = "tiny",
    pixels_per_token: int = PIXELS_PER_TOKEN,
) -> Path:
    """Write a model folder and return it; its detokenizer has PIXELS_PER_TOKEN whatever it says."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = vocabulary_of(WORDS)
    encoder, decoder = random_weights(
        np.random.default_rng(seed),
        len(vocabulary),
        rows * cols,
        codebook_size,
        width,
        glu_width,
        encoder_layers,
        decoder_layers,
    )
    safetensors.numpy.save_file(encoder, folder / "encoder.safetensors")
    safetensors.numpy.save_file(decoder, folder / "decoder.safetensors")
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    settings = {
        "name": name,
        "rows": rows,
        "cols": cols,
        "pixels_per_token": pixels_per_token,
        "codebook_size": codebook_size,
        "start_token": codebook_size,
        "sampling": {"temperature": 1.0, "top_k": 32, "top_p": 1.0, "guidance": 4.0},
    }
    (folder / "model.json").write_text(json.dumps(settings), "utf-8")
    tiny_detokenizer(folder / "detokenizer.onnx", codebook_size)
    return folder


def vocabulary_of(words: list[str]) -> dict[str, int]:
    """Special tokens as min-dalle numbers them, and the single letters of the words."""
    letters = sorted({letter for word in words for letter in word})
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "Ġ", *letters]
    return {piece: index for index, piece in enumerate(pieces)}


def random_weights(
    random: np.random.Generator,
    vocabulary_size: int,
    positions: int,
    codebook_size: int,
    width: int,
    glu_width: int,
    encoder_layers: int,
    decoder_layers: int,
) -> tuple[dict[str, NDArray[np.float16]], dict[str, NDArray[np.float16]]]:
    """DalleBart's encoder and decoder with the key names and dtype of min-dalle's files."""

    def normal(*shape: int, scale: float = 0.1) -> NDArray[np.float16]:
        return (random.standard_normal(shape) * scale).astype(np.float16)

    def norm(name: str, size: int) -> dict[str, NDArray[np.float16]]:
        return {
            f"{name}.weight": (1 + normal(size)).astype(np.float16),
            f"{name}.bias": normal(size),
        }

    def layer(name: str, attentions: list[str]) -> dict[str, NDArray[np.float16]]:
        weights = {}
        for attention in attentions:
            for part in ("k", "v", "q", "out"):
                weights[f"{name}.{attention}.{part}_proj.weight"] = normal(width, width)
            weights |= norm(f"{name}.pre_{attention}_layer_norm", width)
            weights |= norm(f"{name}.{attention}_layer_norm", width)
        weights |= norm(f"{name}.glu.ln0", width) | norm(f"{name}.glu.ln1", glu_width)
        weights[f"{name}.glu.fc0.weight"] = normal(glu_width, width)
        weights[f"{name}.glu.fc1.weight"] = normal(glu_width, width)
        weights[f"{name}.glu.fc2.weight"] = normal(width, glu_width)
        return weights

    def stack(
        tokens: int, places: int, layers: int, attentions: list[str]
    ) -> dict[str, NDArray[np.float16]]:
        weights = {
            "embed_tokens.weight": normal(tokens, width, scale=1.0),
            "embed_positions.weight": normal(places, width, scale=1.0),
        }
        weights |= norm("layernorm_embedding", width) | norm("final_ln", width)
        for index in range(layers):
            weights |= layer(f"layers.{index}", attentions)
        return weights

    encoder = stack(vocabulary_size, 64, encoder_layers, ["self_attn"])
    decoder = stack(codebook_size + 1, positions, decoder_layers, ["self_attn", "encoder_attn"])
    decoder["lm_head.weight"] = normal(codebook_size + 1, width, scale=0.3)
    return encoder, decoder


def tiny_detokenizer(path: Path, codebook_size: int, **changes: str) -> Path:
    """A detokenizer that paints each code as one flat block; ``changes`` replace its metadata."""
    colours = np.random.default_rng(1).random((codebook_size, 3)).astype(np.float32)
    rows = [0, 1, 2, 3]
    ids = [(7 * row + 3 * col) % codebook_size for row in rows for col in rows]
    thumbnail = np.floor(colours[ids] * 255).astype(int).tolist()
    side = PIXELS_PER_TOKEN
    nodes = [
        helper.make_node("Gather", ["colours", "ids"], ["coloured"]),  # [batch, rows, cols, 3]
        helper.make_node("Transpose", ["coloured"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Resize", ["planes", "", "scales"], ["pixels"], mode="nearest"),
    ]
    graph = helper.make_graph(
        nodes,
        "detokenizer",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "rows", "cols"])],
        [
            helper.make_tensor_value_info(
                "pixels", TensorProto.FLOAT, ["batch", 3, "height", "width"]
            )
        ],
        initializer=[
            numpy_helper.from_array(colours, "colours"),
            numpy_helper.from_array(np.array([1, 1, side, side], np.float32), "scales"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = {
        "rowcast.format": "1",
        "rowcast.kind": "full",
        "rowcast.precision": "fp32",
        "rowcast.model": "tiny",
        "rowcast.codebook_size": str(codebook_size),
        "rowcast.pixels_per_token": str(side),
        "rowcast.value_range": "0..1",
        "rowcast.self_test": json.dumps(
            {
                "rows": 4,
                "cols": 4,
                "ids": ids,
                "thumbnail": thumbnail,
                "thumbnail_side": 4,
                "tolerance": 2,
                "pixels_sha256": hashlib.sha256(b"").hexdigest(),
            }
        ),
    }
    helper.set_model_props(model, metadata | changes)
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    return path


def tiny_palette(path: Path, codebook_size: int, side: int = 2) -> Path:
    """A palette of other colours than the detokenizer's, ``side`` x ``side`` pixels a code."""
    shape = (codebook_size, side, side, 3)
    table = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    with path.open("wb") as file:
        np.lib.format.write_array(file, table, version=(1, 0), allow_pickle=False)
    return path
