"""The detokenizer: ids to pixels by an exported ONNX graph. Meets the exporter only in the file.

The file tells about itself in its metadata (`rowcast.*`): codebook size, pixels per token, and a
self-test grid, which is decoded at loading: a runtime that computes something else is found before
it paints.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..errors import DetokenizerError
from .devices import CPU, usable
from .onnx_file import (
    DAMAGE,
    FORMAT,
    check_thumbnail,
    open_file,
    run,
)
from .palette import PAPER as PAPER
from .palette import on_paper

logger = logging.getLogger(__name__)

# What the largest layers of a VQGAN decoder hold at once for each pixel of a picture: some four
# maps of 128 channels in float32. Decodes of several pictures are cut so that they fit.
BYTES_PER_PIXEL: Final = 4 * 128 * 4
MEMORY_BUDGET_BYTES: Final = 512 * 2**20
# Below the rows held the full decoder is given the last of them again, so many times: it looks
# below a token, and mean and variance of its norms span the whole grid. On postcard's held-out
# pictures this is the best of the guesses tried: 25.7 dB from the final picture without, 32.5 dB.
GUESSED_ROWS: Final = 6


class Detokenizer:
    """A loaded detokenizer file, or its bytes. Raises DetokenizerError for any other file.

    ``threads`` bounds what a decode takes of the machine, so that the host program stays
    responsive. ``providers`` (cpu, cuda, coreml, directml) are tried in turn: those that ONNX
    Runtime does not offer here, or that fail the file's self-test, are passed over. ``provider``
    says which it is, ``precision`` and ``kind`` what the file is.
    """

    def __init__(
        self,
        source: Path | str | bytes,
        threads: int = 1,
        *,
        providers: Sequence[str] = (CPU,),
        name: str | None = None,
    ) -> None:
        self.path = Path(name or "a detokenizer") if isinstance(source, bytes) else Path(source)
        candidates = usable(providers)
        for provider in candidates:
            try:
                self._load(source, threads, provider)
                return
            except DetokenizerError as error:
                if provider == candidates[-1]:
                    raise
                logger.warning("%s cannot run %s, trying the next: %s", provider, self.path, error)

    def _load(self, source: Path | str | bytes, threads: int, provider: str) -> None:
        self._session, metadata = open_file(source, self.path, threads, provider)
        if metadata.get("rowcast.format") != FORMAT:
            raise DetokenizerError(
                f"{self.path} is an ONNX file, but no detokenizer written by `rowcast export`"
                f" (rowcast.format is {metadata.get('rowcast.format')!r}, not {FORMAT!r})"
            )
        self.provider = provider
        self.kind = metadata.get("rowcast.kind", "full")
        self.precision = metadata.get("rowcast.precision", "fp32")
        try:
            self.codebook_size = int(metadata["rowcast.codebook_size"])
            self.pixels_per_token = int(metadata["rowcast.pixels_per_token"])
            self._self_test(json.loads(metadata["rowcast.self_test"]))
        except DAMAGE as error:
            what = f"no {error}" if isinstance(error, KeyError) else error
            raise DetokenizerError(
                f"{self.path} has damaged metadata ({what}); export it anew with `rowcast export`"
            ) from error

    def decode(
        self, ids: NDArray[np.integer], memory_bytes: int = MEMORY_BUDGET_BYTES
    ) -> NDArray[np.uint8]:
        """[batch, rows, cols] ids -> [batch, rows * p, cols * p, 3] RGB.

        As many pictures at once as a decode may take of memory, at least one.

        Raises DetokenizerError for an id outside the codebook, or where the runtime fails.
        """
        grid = np.ascontiguousarray(ids, np.int64)
        if grid.size and not 0 <= int(grid.min()) <= int(grid.max()) < self.codebook_size:
            raise DetokenizerError(
                f"the id {int(grid.max())} is outside the codebook of {self.codebook_size}; take "
                "the detokenizer of the picture's own model"
            )
        pixels_each = grid[:1].size * self.pixels_per_token**2
        at_once = max(1, memory_bytes // max(1, pixels_each * BYTES_PER_PIXEL))
        if len(grid) <= at_once:
            return self._run(grid)
        parts = [self._run(grid[first : first + at_once]) for first in range(0, len(grid), at_once)]
        return np.concatenate(parts)

    def _run(self, grid: NDArray[np.int64]) -> NDArray[np.uint8]:
        try:
            pixels = run(self._session, grid)
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise DetokenizerError(
                f"{self.path} cannot decode on {self.provider} ({error}); try another of the "
                "providers"
            ) from error
        # Truncated, as min-dalle and the original do it.
        scaled: NDArray[np.float32] = pixels.transpose(0, 2, 3, 1) * np.float32(255)
        with np.errstate(invalid="ignore"):  # NaN from damaged weights: the self-test tells
            return scaled.astype(np.uint8)

    def paint(self, grid: NDArray[np.integer], rows: int) -> NDArray[np.uint8]:
        """A picture so far, RGB [rows * p, cols * p, 3]: ``grid`` [held, cols], paper below it.

        The full decoder is given up to GUESSED_ROWS more rows, never more than ``rows`` in all; a
        preview is taught on cut grids and gets none. With all ``rows`` held it is `decode` of the
        grid. Raises DetokenizerError.
        """
        held, cols = grid.shape
        side = self.pixels_per_token
        if not held:
            return on_paper(np.empty((0, cols * side, 3), np.uint8), rows * side)
        guessed = min(GUESSED_ROWS, rows - held) if self.kind == "full" else 0
        filled = np.concatenate([grid, grid[-1:].repeat(guessed, axis=0)])
        return on_paper(self.decode(filled[None])[0, : held * side], rows * side)

    def _self_test(self, test: Mapping[str, object]) -> None:
        rows, cols = (int(str(test[name])) for name in ("rows", "cols"))
        ids = np.array(test["ids"], np.int64).reshape(1, rows, cols)
        side = self.pixels_per_token
        check_thumbnail(self.path, self.decode(ids)[0], (rows * side, cols * side), test)
