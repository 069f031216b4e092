"""The tiers of pixels: palette, preview and full, each of which paints the same ids.

``palette`` paints in microseconds, ``preview`` is a small decoder, ``full`` is the picture. Knows
neither sockets nor where files come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DetokenizerError
from ..messages import DetokenizerFile, Model
from .detokenizer import Detokenizer
from .network import redacted
from .palette import Palette

# From the least to the most: a later one paints over an earlier one. The kinds of file that
# `load_tier` reads, in the order in which they are fetched; and what `quality` may be, the last
# kind that is fetched.
TIERS: Final = ("palette", "preview", "full")
# Decoders of a picture that forms, the first that is there; the palette paints before it. A preview
# is taught on cut grids, so it is nearer to the final picture than the full decoder, which is not.
WHILE_FORMING: Final = ("preview", "full")


class Decoder(Protocol):
    """Ids to pixels: a `Detokenizer`, or a `Palette`."""

    @property
    def pixels_per_token(self) -> int:
        """Width and height of a token in pixels, p."""

    def decode(self, ids: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Whole grids [batch, rows, cols] -> RGB [batch, rows * p, cols * p, 3]."""

    def paint(self, grid: NDArray[np.integer], rows: int) -> NDArray[np.uint8]:
        """A picture so far, RGB [rows * p, cols * p, 3]: ``grid`` [held, cols], paper below it.

        With all ``rows`` held it is `decode` of the grid. Raises DetokenizerError.
        """


@dataclass(frozen=True)
class Tier:
    """One way to paint: its name, one of TIERS; a description for people; its decoder."""

    name: str
    description: str
    decoder: Decoder


def load_tier(
    file: DetokenizerFile,
    content: Path | bytes,
    model: Model,
    threads: int,
    providers: Sequence[str],
) -> Tier:
    """The tier of a file that was announced for ``model``: its path, or its bytes.

    Raises DetokenizerError, naming the file and its checksums, for a damaged file, or one of
    another kind or model.
    """
    name = str(content) if isinstance(content, Path) else redacted(file.url)
    try:
        if file.kind == "palette":
            data = content.read_bytes() if isinstance(content, Path) else content
            palette = Palette(data, model.codebook_size, model.pixels_per_token, name)
            return Tier(file.kind, f"palette {file.precision}", palette)
        decoder = Detokenizer(content, threads, providers=providers, name=name)
        _check(decoder, file, model, name)
    except DetokenizerError as error:
        # Its bytes are those announced: what is wrong is wrong at the server's.
        raise DetokenizerError(f"{error}; it is as announced: {file.sha256.hex()}") from error
    except OSError as error:
        raise DetokenizerError(f"{name} cannot be read: {error}") from error
    return Tier(file.kind, f"{file.kind} {decoder.precision} on {decoder.provider}", decoder)


def _check(decoder: Detokenizer, file: DetokenizerFile, model: Model, name: str) -> None:
    if decoder.kind != file.kind:
        raise DetokenizerError(f"{name} is of kind {decoder.kind}, announced as {file.kind}")
    if decoder.pixels_per_token != model.pixels_per_token or (
        decoder.codebook_size < model.codebook_size
    ):
        raise DetokenizerError(
            f"{name} paints {decoder.codebook_size} codes, {decoder.pixels_per_token} pixels a "
            f"token; the model {model.name} has {model.codebook_size} of {model.pixels_per_token}: "
            "it is another's"
        )
