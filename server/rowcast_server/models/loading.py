"""From a folder of weights to a model that can be served. No torch.

A model folder holds ``encoder.safetensors``, ``decoder.safetensors``, ``vocab.json``,
``merges.txt``, ``model.json`` and ``detokenizer.onnx``. Sizes follow from the tensors' shapes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from rowcast.errors import RowcastError
from rowcast.messages import REVISION_BYTES

from ..engine.request import Sampling
from ..engine.runner import Grid
from ..engine.sampling import SAMPLER_VERSION
from .text import TextTokenizer

WEIGHT_FILES = ("encoder.safetensors", "decoder.safetensors", "vocab.json", "merges.txt")


class ModelError(RowcastError):
    """A model folder is incomplete or damaged; the text names the file."""


@dataclass(frozen=True)
class LoadedModel:
    """Weights in float32, the tokenizer, the grid, and the detokenizer file clients will fetch."""

    name: str
    revision: bytes  # 8 bytes over weights, vocabulary and sampler
    encoder: dict[str, NDArray[np.float32]]
    decoder: dict[str, NDArray[np.float32]]
    tokenizer: TextTokenizer
    grid: Grid
    pixels_per_token: int
    sampling: Sampling
    detokenizer: Path
    detokenizer_sha256: bytes


def load(name_or_path: str) -> LoadedModel:
    """The embedded model by its name, or a model folder by its path. Raises ModelError."""
    if name_or_path == "postcard":
        folder = Path(str(resources.files(__package__) / "postcard"))
    else:
        folder = Path(name_or_path)
        if not folder.is_dir():
            raise ModelError(
                f"unknown model {name_or_path!r}: neither an embedded model (postcard) "
                "nor a folder with encoder.safetensors and the files beside it"
            )
    for file in (*WEIGHT_FILES, "model.json", "detokenizer.onnx"):
        if not (folder / file).is_file():
            raise ModelError(f"the model folder {folder} has no {file}")
    settings = _settings(folder / "model.json")
    encoder = _weights(folder / "encoder.safetensors")
    decoder = _weights(folder / "decoder.safetensors")
    try:
        tokenizer = TextTokenizer.from_files(folder / "vocab.json", folder / "merges.txt")
        grid = Grid(
            rows=settings["rows"],
            cols=settings["cols"],
            codebook_size=settings["codebook_size"],
            start_token=settings["start_token"],
        )
        defaults = Sampling(**settings["sampling"])
        name, pixels_per_token = settings["name"], settings["pixels_per_token"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the model folder {folder} is damaged: {error!r}") from error
    _check_shapes(folder, encoder, decoder, grid)
    return LoadedModel(
        name=name,
        revision=_revision(folder),
        encoder=encoder,
        decoder=decoder,
        tokenizer=tokenizer,
        grid=grid,
        pixels_per_token=pixels_per_token,
        sampling=defaults,
        detokenizer=folder / "detokenizer.onnx",
        detokenizer_sha256=hashlib.sha256((folder / "detokenizer.onnx").read_bytes()).digest(),
    )


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{path} does not hold a JSON object")
    return settings


def _weights(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        tensors = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path} is no safetensors file, or is cut short: {error}") from error
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def _check_shapes(
    folder: Path,
    encoder: dict[str, NDArray[np.float32]],
    decoder: dict[str, NDArray[np.float32]],
    grid: Grid,
) -> None:
    expected = {
        "embed_tokens.weight": grid.start_token + 1,
        "embed_positions.weight": grid.tokens,
        "lm_head.weight": grid.codebook_size,
    }
    for name, at_least in expected.items():
        if name not in decoder or len(decoder[name]) < at_least:
            found = "missing" if name not in decoder else f"of shape {decoder[name].shape}"
            raise ModelError(
                f"{folder / 'decoder.safetensors'}: {name} is {found}, needs {at_least} rows"
            )
    for name in ("embed_tokens.weight", "embed_positions.weight"):
        if name not in encoder:
            raise ModelError(f"{folder / 'encoder.safetensors'}: {name} is missing")
    widths = encoder["embed_positions.weight"].shape[1], decoder["embed_positions.weight"].shape[1]
    if widths[0] != widths[1]:
        raise ModelError(
            f"{folder}: an encoder of width {widths[0]} with a decoder of width {widths[1]}"
        )


def _revision(folder: Path) -> bytes:
    digest = hashlib.sha256(f"rowcast sampler {SAMPLER_VERSION}".encode())
    for file in WEIGHT_FILES:
        digest.update(hashlib.sha256((folder / file).read_bytes()).digest())
    return digest.digest()[:REVISION_BYTES]
