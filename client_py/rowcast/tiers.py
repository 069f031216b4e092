"""The tiers of pixels, each of which paints the same ids: what they are, and what comes first.

``palette`` paints in microseconds, ``preview`` is a small decoder, ``incremental`` decodes new rows
only, ``full`` is the picture. Knows neither sockets nor where files come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from .canvas import Picture
from .detokenizer import Detokenizer
from .errors import DetokenizerError
from .incremental import KIND as INCREMENTAL
from .incremental import IncrementalDecoder
from .messages import DetokenizerFile, Model
from .onnx_file import Weights
from .palette import Palette

# From the least to the most; a later one takes the place of an earlier one.
ORDER: Final = ("palette", "incremental", "preview", "full")
# What paints a picture while it forms, the first that is there; the palette paints before it. A
# preview is nearer to the final picture than an exact decode of the rows so far, whose norms span
# those alone (DECISIONS.md).
WHILE_FORMING: Final = ("preview", "incremental", "full")
# The file kinds that `load_tier` reads, in the order in which they are fetched; others are ignored.
# The incremental one takes its weights from the full one, so it comes with that, and after it.
FETCHED: Final = ("palette", "preview", "full", INCREMENTAL)
# Pictures that form at once and are decoded row by row, 4 MB each of 256 x 256 pixels. Of more, the
# ones that wait longest are decoded from their first row again.
FORMING: Final = 16
# What `quality` may be: the last kind that is fetched.
QUALITIES: Final = ("palette", "preview", "full")


class Decoder(Protocol):
    """Ids to pixels: a `Detokenizer`, or a `Palette`."""

    @property
    def pixels_per_token(self) -> int: ...

    def decode(self, ids: NDArray[np.integer]) -> NDArray[np.uint8]:
        """[batch, rows, cols] ids -> [batch, rows * p, cols * p, 3] RGB."""

    def paint(self, grid: NDArray[np.integer], rows: int) -> NDArray[np.uint8]:
        """The picture so far, [rows * p, cols * p, 3]: ``grid`` [held, cols], paper below it."""


class Tier(Protocol):
    """One way to paint. ``name`` is one of ORDER, ``description`` for people.

    ``decoder`` is None where it paints single pictures only, no mosaics.
    """

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def decoder(self) -> Decoder | None: ...

    def paint(self, picture: Picture, grid: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The rows of ``grid`` [held, cols], the first of ``picture``: [held * p, cols * p, 3].

        Rows of pixels below those are ignored. Called for one picture at a time, in any thread.
        Raises DetokenizerError.
        """

    def forget(self, picture: Picture) -> None:
        """Drop what is kept of a picture that has ended; one that is not known is no error."""


@dataclass(frozen=True)
class DecoderTier:
    """A tier that decodes all rows anew."""

    name: str
    description: str
    decoder: Decoder

    def paint(self, picture: Picture, grid: NDArray[np.integer]) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = self.decoder.decode(grid[None])[0]
        return pixels

    def forget(self, picture: Picture) -> None:
        """Nothing is kept."""


@dataclass(frozen=True)
class IncrementalTier:
    """A tier that decodes new rows, and keeps a state of each picture that forms."""

    description: str
    incremental: IncrementalDecoder
    name: str = INCREMENTAL
    decoder: Decoder | None = None

    def paint(self, picture: Picture, grid: NDArray[np.integer]) -> NDArray[np.uint8]:
        return self.incremental.paint(picture, grid)

    def forget(self, picture: Picture) -> None:
        self.incremental.forget(picture)


def load_tier(
    file: DetokenizerFile,
    content: Path | bytes,
    model: Model,
    threads: int,
    providers: Sequence[str],
    weights: Weights | None = None,
) -> Tier:
    """The tier of a file that was announced for ``model``: its path, or its bytes.

    ``weights`` is the full file, whose weights the incremental one takes; that runs on the CPU.

    Raises DetokenizerError, naming the file and its checksums, for one that is none, or is
    another's.
    """
    name = str(content) if isinstance(content, Path) else file.url
    try:
        if file.kind == "palette":
            data = content.read_bytes() if isinstance(content, Path) else content
            palette = Palette(data, model.codebook_size, model.pixels_per_token, name)
            return DecoderTier(file.kind, f"palette {file.precision}", palette)
        if file.kind == INCREMENTAL:
            steps = IncrementalDecoder(content, threads, FORMING, weights=weights, name=name)
            _check(steps, file, model, name)
            return IncrementalTier(f"{file.kind} {file.precision} on cpu", steps)
        decoder = Detokenizer(content, threads, providers=providers, name=name)
        _check(decoder, file, model, name)
    except DetokenizerError as error:
        # Its bytes are those announced: what is wrong is wrong at the server's.
        digest = file.sha256.hex()
        raise DetokenizerError(f"{error}; sha256 {digest}, announced {digest}") from error
    except OSError as error:
        raise DetokenizerError(f"{name} cannot be read: {error}") from error
    return DecoderTier(file.kind, f"{file.kind} {decoder.precision} on {decoder.provider}", decoder)


def _check(
    decoder: Detokenizer | IncrementalDecoder, file: DetokenizerFile, model: Model, name: str
) -> None:
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
