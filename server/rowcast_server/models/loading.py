"""Loading: from a name or a folder to a model that can be served.

Sizes follow from the tensors' shapes; no file is read whole: tensors are mapped or read one at a
time, where the graphs are made (graph_files.py). torch is needed for torch's files alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

from rowcast_export import formats

from ..errors import ModelError
from ..network.facts import Grid, Network, Sampling
from ..network.tensors import Tensors
from . import hub
from .client_files import ClientFile
from .detokenizers import detokenizer_of
from .flax_names import encoder_and_decoder, is_flax
from .revision import revision_of
from .shapes import check_transformer
from .sources import ModelFiles, find
from .text import TextTokenizer

# The detokenizer that DALL-E Mini and Mega share has this many codes. Mega's vocabulary is larger:
# ids beyond are never drawn.
DALLE_CODEBOOK_SIZE: Final = 16_384


@dataclass(frozen=True)
class Transformer(Network):
    """A network with its name, its tokenizer and its defaults; weights become float32 as read."""

    encoder: Tensors
    decoder: Tensors
    digest: bytes  # over the weights, whatever files they came from
    name: str
    tokenizer: TextTokenizer
    sampling: Sampling
    revision: bytes  # in float32 (revision.py)

    def text_ids(self, prompt: str) -> tuple[int, ...]:
        """The text ids of a prompt [64], as requests carry them."""
        return tuple(self.tokenizer.encode(prompt).ids.tolist())


@dataclass(frozen=True)
class LoadedModel(Transformer):
    """A transformer and the files that clients fetch."""

    pixels_per_token: int
    files: tuple[ClientFile, ...]

    @property
    def detokenizer(self) -> Path:
        """The full decoder in float32, the first of the files."""
        return self.files[0].path


def load(name_or_path: str, start_token: int | None = None) -> LoadedModel:
    """Load ``postcard``, ``mini``, ``mega`` or a model folder; ``start_token`` replaces its own.

    Raises ModelError or CheckpointError, which name the file and the tensor.
    """
    files = find(name_or_path, hub.download)
    transformer = load_transformer(files, start_token)
    detokenizer = detokenizer_of(files)
    if detokenizer.codebook_size < transformer.grid.codebook_size:
        raise ModelError(
            f"{detokenizer.files[0].path} paints {detokenizer.codebook_size} codes, but "
            f"{transformer.decoder.path} draws {transformer.grid.codebook_size}"
        )
    return LoadedModel(
        **vars(transformer),
        pixels_per_token=detokenizer.pixels_per_token,
        files=detokenizer.files,
    )


def load_transformer(files: ModelFiles, start_token: int | None = None) -> Transformer:
    """Load a model without its detokenizer. Raises ModelError or CheckpointError."""
    encoder = open_tensors(files.encoder)
    if is_flax(encoder):
        encoder, decoder = encoder_and_decoder(encoder)
    else:
        decoder = open_tensors(files.decoder)
    check_transformer(encoder, decoder)
    tokenizer = _tokenizer(files, encoder)
    name, grid, sampling = _settings(files, decoder)
    if start_token is not None:
        grid = replace(grid, start_token=start_token)
    _check_grid(files, decoder, grid)
    digest = hashlib.sha256(encoder.digest() + decoder.digest()).digest()
    return Transformer(
        name=name,
        encoder=encoder,
        decoder=decoder,
        tokenizer=tokenizer,
        grid=grid,
        sampling=sampling,
        digest=digest,
        revision=revision_of(digest, files.vocabulary, files.merges, grid.start_token),
    )


def open_tensors(path: Path) -> Tensors:
    """The tensors of a file of any known format, not read yet. Nothing in it is executed.

    Raises CheckpointError where it cannot be read, ModelError where it holds other numbers than
    floating-point ones.
    """
    tensors = formats.open_checkpoint(path).tensors
    for name, tensor in tensors.items():
        if tensor.dtype not in formats.FLOATING:
            tensor.read()  # where it cannot be read at all, this says why
            raise ModelError(f"{path}: {name} is of type {tensor.dtype}, not floating point")
    return Tensors(path, tensors)


def _tokenizer(files: ModelFiles, encoder: Tensors) -> TextTokenizer:
    try:
        tokenizer = TextTokenizer.from_files(files.vocabulary, files.merges)
        highest = max(tokenizer.vocab.values())
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{files.vocabulary} or {files.merges.name}: {error}") from error
    rows = encoder.shape("embed_tokens.weight")[0]
    if highest >= rows:
        raise ModelError(
            f"{files.vocabulary} has ids up to {highest}, but {encoder.path}: "
            f"embed_tokens.weight has {rows} rows: the vocabulary belongs to another model"
        )
    return tokenizer


def _settings(files: ModelFiles, decoder: Tensors) -> tuple[str, Grid, Sampling]:
    """Name, grid and sampling of model.json; without one, from the shapes and the family's
    defaults."""
    if files.settings is None:
        positions = decoder.shape("embed_positions.weight")[0]
        side = math.isqrt(positions)
        if side * side != positions:
            raise ModelError(
                f"{decoder.path}: embed_positions.weight has {positions} rows, which is no square "
                "grid; say rows and cols in a model.json"
            )
        codes = min(DALLE_CODEBOOK_SIZE, decoder.shape("lm_head.weight")[0] - 1)
        return files.name, Grid(side, side, codes, codes), Sampling()
    try:
        settings = json.loads(files.settings.read_text("utf-8"))
        sizes = (int(settings[field.name]) for field in fields(Grid))
        return str(settings["name"]), Grid(*sizes), Sampling(**settings["sampling"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{files.settings} cannot be read: {error!r}") from error


def _check_grid(files: ModelFiles, decoder: Tensors, grid: Grid) -> None:
    for name, needed in (
        ("embed_tokens.weight", max(grid.start_token, grid.codebook_size - 1) + 1),
        ("embed_positions.weight", grid.tokens),
        ("lm_head.weight", grid.codebook_size),
    ):
        rows = decoder.shape(name)[0]
        if rows < needed:
            raise ModelError(
                f"{decoder.path}: {name} has {rows} rows; {grid.codebook_size} codes, "
                f"{grid.tokens} positions and start token {grid.start_token} need {needed}"
            )
    if min(grid.rows, grid.cols, grid.codebook_size) < 1 or grid.start_token < 0:
        raise ModelError(f"{files.settings or files.decoder}: sizes must be positive: {grid}")
