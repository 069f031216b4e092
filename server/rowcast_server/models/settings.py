"""`model.json`: what no tensor's shape tells of a model, each key checked against its range.

Written by hand as often as by a program, so that a mistake in it is told by the name of the key,
and before a server says that it is ready.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Final, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from rowcast.messages import MAX_EXAMPLES, Description, Example, ModelName, Side

from ..errors import ModelError
from ..families.janus.sizes import GRID_SIDE as JANUS_SIDE
from ..families.janus.sizes import SAMPLING as JANUS_SAMPLING
from ..families.janus.sizes import code_count, is_janus
from ..families.text import Tokenizer
from ..network.facts import Grid, Sampling
from ..network.tensors import Tensors

# The detokenizer that DALL-E Mini and Mega share has this many codes. Mega's vocabulary is larger:
# ids beyond are never drawn.
DALLE_CODEBOOK_SIZE: Final = 16_384

_SamplingDefaults = msgspec.defstruct(
    "_SamplingDefaults",
    [
        (each.name, Annotated[kind, Meta(ge=low, le=high)] | UnsetType, UNSET)
        for each, kind in zip(fields(Sampling), get_type_hints(Sampling).values(), strict=True)
        for low, high in [each.metadata["range"]]
    ],
    forbid_unknown_fields=True,
    frozen=True,
)


class _File(Struct, forbid_unknown_fields=True, frozen=True):
    """The keys of the file, each of which may be left out."""

    name: ModelName | None = None
    rows: Side | None = None
    cols: Side | None = None
    codebook_size: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    start_token: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    sampling: _SamplingDefaults = _SamplingDefaults()  # type: ignore[valid-type]
    description: Description = ""
    examples: Annotated[tuple[Example, ...], Meta(max_length=MAX_EXAMPLES)] = ()
    # Of the detokenizer, which is asked itself:
    pixels_per_token: Annotated[int, Meta(ge=1, le=64)] | None = None
    value_range: str | None = None
    group_norm_epsilon: str | float | None = None


@dataclass(frozen=True)
class Settings:
    """Name, grid and sampling of a model, and what it says of itself to people."""

    name: str
    grid: Grid
    sampling: Sampling
    description: str = ""  # a sentence on what it draws
    examples: tuple[str, ...] = ()  # prompts that it can draw
    pixels_per_token: int | None = None  # as said, to be compared with the detokenizer


def read_settings(path: Path | None, name: str, decoder: Tensors, tokenizer: Tokenizer) -> Settings:
    """The settings of a `model.json`; what it does not say, and all without one, is ``name``, the
    tensors' sizes and the family's defaults.

    Raises ModelError, naming the key.
    """
    file = _File() if path is None else _read(path)
    if (file.rows is None) != (file.cols is None):
        raise ModelError(f"{path}: say both `rows` and `cols`, or neither")
    rows, cols, codes = file.rows, file.cols, file.codebook_size
    sampling = Sampling()
    if is_janus(decoder):
        sampling = JANUS_SAMPLING
        rows, cols = rows or JANUS_SIDE, cols or JANUS_SIDE
        codes = codes or code_count(decoder)
    if rows is None or cols is None:
        positions = decoder.shape("embed_positions.weight")[0]
        rows = cols = math.isqrt(positions)
        if rows * cols != positions:
            raise ModelError(
                f"{decoder.path}: embed_positions.weight has {positions} rows, which is no square "
                "grid; say rows and cols in a model.json"
            )
    if codes is None:
        codes = min(DALLE_CODEBOOK_SIZE, decoder.shape("lm_head.weight")[0] - 1)
    said = {
        name: value
        for name, value in msgspec.structs.asdict(file.sampling).items()
        if value is not UNSET
    }
    grid = Grid(rows, cols, codes, codes if file.start_token is None else file.start_token)
    for text in file.examples:
        encoded = tokenizer.encode(text)
        if encoded.cut or encoded.lost or not encoded.is_read:
            raise ModelError(
                f"{path}: `examples`: the model cannot read all of {text!r}; write others"
            )
    return Settings(
        file.name or name,
        grid,
        replace(sampling, **said),
        file.description,
        file.examples,
        file.pixels_per_token,
    )


def _read(path: Path) -> _File:
    try:
        file = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), type=_File)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        what, _, where = str(error).partition(" - at ")
        key = re.sub(r"`\$\.?(.*)`", r"\1", where)
        raise ModelError(f"{path}: {f'`{key}`: ' if key else ''}{what}") from error
    for key, texts in {
        "name": (file.name or "",),
        "description": (file.description,),
        "examples": file.examples,
    }.items():
        if not all(text.isprintable() for text in texts):
            raise ModelError(f"{path}: `{key}` holds what cannot be shown; remove it")
    return file


def check_grid(settings: Settings, path: Path | None, decoder: Tensors) -> None:
    """Raises ModelError, naming key and tensor, where the decoder is too small for the grid."""
    grid = settings.grid
    if is_janus(decoder):
        if (grid.codebook_size, grid.start_token) != (code_count(decoder),) * 2:
            raise ModelError(
                f"{decoder.path} has {code_count(decoder)} codes and begins behind them; "
                "leave out `codebook_size` and `start_token`, and --start-token"
            )
        return
    source = f" (see {path})" if path is not None else ""
    for tensor, what, needed in (
        ("embed_positions.weight", f"`rows` x `cols` = {grid.rows} x {grid.cols}", grid.tokens),
        ("lm_head.weight", f"`codebook_size` {grid.codebook_size}", grid.codebook_size),
        ("embed_tokens.weight", f"`codebook_size` {grid.codebook_size}", grid.codebook_size),
        ("embed_tokens.weight", f"`start_token` {grid.start_token}", grid.start_token + 1),
    ):
        rows = decoder.shape(tensor)[0]
        if rows < needed:
            raise ModelError(
                f"{decoder.path}: {tensor} has {rows} rows; {what} needs {needed}{source}"
            )
    if grid.start_token < 0:
        raise ModelError(f"the start token is at least 0, not {grid.start_token}")
