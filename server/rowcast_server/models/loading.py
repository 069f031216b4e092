"""Loading: from a name or a folder to a model that can be served.

Sizes follow from the tensors' shapes; no file is read whole: tensors are mapped or read one at a
time, where the graphs are made (graph_files.py). torch is needed for torch's files alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rowcast_export import formats

from ..errors import ModelError
from ..families.janus.checkpoint import check_janus, decoder_names, our_names
from ..families.text import Tokenizer
from ..network.facts import Network, Sampling, SpecialTokens
from ..network.tensors import StoredTensor, Tensors
from . import hub
from .client_files import ClientFile
from .detokenizers import detokenizer_of
from .flax_names import encoder_and_decoder, is_flax
from .revision import revision_of
from .settings import Settings, check_grid, read_settings
from .shapes import check_transformer
from .sources import ModelFiles, find
from .text import TextTokenizer

if TYPE_CHECKING:
    from ..families.janus.text import JanusTokenizer


@dataclass(frozen=True)
class Transformer(Network):
    """A network with its name, its tokenizer and its defaults; weights become float32 as read."""

    encoder: Tensors
    decoder: Tensors
    digest: bytes  # over the weights, whatever files they came from
    name: str
    tokenizer: Tokenizer
    sampling: Sampling
    revision: bytes  # in float32 (revision.py)
    description: str  # a sentence on what it draws; empty where it does not say
    examples: tuple[str, ...]  # prompts that it can draw

    def text_ids(self, prompt: str) -> tuple[int, ...]:
        """The text ids of a prompt, as requests carry them."""
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
    """Load a model by its name, or from a folder; ``start_token`` replaces its own.

    Raises ModelError or CheckpointError, which name the file and the tensor.
    """
    files = find(name_or_path, hub.download)
    transformer, settings = _load(files, start_token)
    detokenizer = detokenizer_of(files)
    if detokenizer.codebook_size < transformer.grid.codebook_size:
        raise ModelError(
            f"{detokenizer.files[0].path} paints {detokenizer.codebook_size} codes, but "
            f"{transformer.decoder.path} draws {transformer.grid.codebook_size}; take both from "
            "one model"
        )
    if settings.pixels_per_token not in (None, detokenizer.pixels_per_token):
        raise ModelError(
            f"{files.settings}: `pixels_per_token` is {settings.pixels_per_token}, but "
            f"{detokenizer.files[0].path} paints {detokenizer.pixels_per_token}; leave it out"
        )
    return LoadedModel(
        **vars(transformer),
        pixels_per_token=detokenizer.pixels_per_token,
        files=detokenizer.files,
    )


def load_transformer(files: ModelFiles, start_token: int | None = None) -> Transformer:
    """Load a model without its detokenizer. Raises ModelError or CheckpointError."""
    return _load(files, start_token)[0]


def _load(files: ModelFiles, start_token: int | None) -> tuple[Transformer, Settings]:
    encoder, decoder, tokenizer, specials = _opened(files)
    settings = read_settings(files.settings, files.name, decoder, tokenizer)
    if start_token is not None:
        settings = replace(settings, grid=replace(settings.grid, start_token=start_token))
    check_grid(settings, files.settings, decoder)
    grid = settings.grid
    digest = hashlib.sha256(encoder.digest() + decoder.digest()).digest()
    transformer = Transformer(
        name=settings.name,
        encoder=encoder,
        decoder=decoder,
        tokenizer=tokenizer,
        grid=grid,
        sampling=settings.sampling,
        digest=digest,
        revision=revision_of(digest, files.vocabulary, files.merges, grid.start_token),
        description=settings.description,
        examples=settings.examples,
        specials=specials,
    )
    return transformer, settings


def _opened(files: ModelFiles) -> tuple[Tensors, Tensors, Tokenizer, SpecialTokens | None]:
    """Encoder, decoder, tokenizer and special tokens, by the family that the files are of."""
    stored = formats.open_checkpoint(files.decoder).tensors
    if names := our_names(stored):
        janus = _floating(files.decoder, {ours: stored[theirs] for ours, theirs in names.items()})
        sizes = check_janus(janus)
        tokenizer = _janus_tokenizer(files, sizes.vocabulary)
        return Tensors(files.encoder, {}), janus, tokenizer, tokenizer.specials
    if files.vocabulary == files.merges:  # one tokenizer.json, as Janus has it
        raise ModelError(
            f"{files.decoder} holds no image embeddings of Janus-Pro, and no other model of this "
            "layout can be served; name another folder"
        )
    decoder = _floating(files.decoder, stored)
    if is_flax(decoder):
        encoder, decoder = encoder_and_decoder(decoder)
    else:
        encoder = open_tensors(files.encoder)
    check_transformer(encoder, decoder)
    return encoder, decoder, _tokenizer(files, encoder), None


def _janus_tokenizer(files: ModelFiles, rows: int) -> JanusTokenizer:
    from ..families.janus.text import JanusTokenizer

    tokenizer = JanusTokenizer(files.vocabulary)
    if tokenizer.highest >= rows:
        raise ModelError(
            f"{files.vocabulary} has ids up to {tokenizer.highest}, but {files.decoder}: the text "
            f"embedding has {rows} rows: take the tokenizer of this model"
        )
    return tokenizer


def open_tensors(path: Path) -> Tensors:
    """The tensors of a file of any known format, not read yet. Nothing in it is executed.

    Raises CheckpointError where it cannot be read, ModelError where it holds other numbers than
    floating-point ones.
    """
    return _floating(path, formats.open_checkpoint(path).tensors)


def decoder_tensors(path: Path) -> Tensors:
    """The decoder of pictures in a checkpoint of Janus-Pro, by its names there. Raises as
    `open_tensors`."""
    stored = formats.open_checkpoint(path).tensors
    return _floating(path, {name: stored[name] for name in decoder_names(stored)})


def _floating(path: Path, tensors: Mapping[str, StoredTensor]) -> Tensors:
    for name, tensor in tensors.items():
        if tensor.dtype not in formats.FLOATING:
            tensor.read()  # where it cannot be read at all, this says why
            raise ModelError(f"{path}: {name} is of type {tensor.dtype}, not floating point")
    return Tensors(path, tensors)


def _tokenizer(files: ModelFiles, encoder: Tensors) -> TextTokenizer:
    try:
        tokenizer = TextTokenizer.from_files(files.vocabulary, files.merges)
        numbers = tokenizer.vocab.values()
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("an id is no whole number, or is below 0")
        highest = max(numbers)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{files.vocabulary} or {files.merges.name} cannot be used ({error}); fetch both anew"
        ) from error
    rows = encoder.shape("embed_tokens.weight")[0]
    if highest >= rows:
        raise ModelError(
            f"{files.vocabulary} has ids up to {highest}, but {encoder.path}: "
            f"embed_tokens.weight has {rows} rows: take the vocabulary of this model"
        )
    return tokenizer
