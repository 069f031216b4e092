"""Ids to pixels with an exported ONNX detokenizer. Meets the exporter only in the file.

The file tells about itself in its metadata (`rowcast.*`): codebook size, pixels per token, and a
self-test grid, which is decoded at loading: a runtime that computes something else is found before
it paints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .errors import DetokenizerError

FORMAT: Final = "1"
# What is not drawn yet is shown in this colour, 0..255.
PAPER: Final = (236, 233, 226)


class Detokenizer:
    """A loaded detokenizer file. Raises DetokenizerError for a file that is not one.

    ``threads`` bounds what a decode takes of the machine, so that the host program stays
    responsive.
    """

    def __init__(self, path: Path | str, threads: int = 1) -> None:
        self.path = Path(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # failures are raised, and told in our own words
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )  # (the fallback, to the CPU again, prints on stdout)
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise DetokenizerError(f"{path} is no ONNX file, or is damaged: {error}") from error
        try:
            metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise DetokenizerError(f"{path} has damaged metadata: {error}") from error
        if metadata.get("rowcast.format") != FORMAT:
            raise DetokenizerError(
                f"{path} is an ONNX file, but no detokenizer written by `rowcast export`"
                f" (rowcast.format is {metadata.get('rowcast.format')!r}, not {FORMAT!r})"
            )
        try:
            self.codebook_size = int(metadata["rowcast.codebook_size"])
            self.pixels_per_token = int(metadata["rowcast.pixels_per_token"])
            self._self_test(json.loads(metadata["rowcast.self_test"]))
        except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise DetokenizerError(f"{path} has damaged metadata: {error!r}") from error

    def decode(self, ids: NDArray[np.integer]) -> NDArray[np.uint8]:
        """[batch, rows, cols] ids -> [batch, rows * p, cols * p, 3] RGB.

        Raises DetokenizerError for an id outside the codebook, or where the runtime fails.
        """
        grid = np.ascontiguousarray(ids, np.int64)
        if grid.size and not 0 <= int(grid.min()) <= int(grid.max()) < self.codebook_size:
            raise DetokenizerError(
                f"the id {int(grid.max())} is outside the codebook of {self.codebook_size}"
            )
        try:
            (pixels,) = self._session.run(["pixels"], {"ids": grid})
        except Exception as error:  # as above
            raise DetokenizerError(f"{self.path} cannot decode: {error}") from error
        # Truncated, as min-dalle and the original do it.
        scaled: NDArray[np.float32] = pixels.transpose(0, 2, 3, 1) * np.float32(255)
        with np.errstate(invalid="ignore"):  # NaN from damaged weights: the self-test tells
            return scaled.astype(np.uint8)

    def paint(self, grid: NDArray[np.integer], rows: int) -> NDArray[np.uint8]:
        """The picture so far, [rows * p, cols * p, 3]: ``grid`` [held, cols], paper below it."""
        held, cols = grid.shape
        side = self.pixels_per_token
        canvas = np.empty((rows * side, cols * side, 3), np.uint8)
        canvas[held * side :] = PAPER
        if held:
            canvas[: held * side] = self.decode(grid[None])[0]
        return canvas

    def _self_test(self, test: Mapping[str, object]) -> None:
        rows, cols, side = (int(str(test[name])) for name in ("rows", "cols", "thumbnail_side"))
        ids = np.array(test["ids"], np.int64).reshape(1, rows, cols)
        pixels = self.decode(ids)[0].astype(np.float64)
        if pixels.shape != (rows * self.pixels_per_token, cols * self.pixels_per_token, 3):
            raise ValueError(f"a picture of shape {pixels.shape}")
        blocks = pixels.reshape(side, pixels.shape[0] // side, side, pixels.shape[1] // side, 3)
        expected = np.array(test["thumbnail"], np.float64).reshape(side, side, 3)
        worst = float(np.abs(blocks.mean((1, 3)) - expected).max())
        if not worst <= float(str(test["tolerance"])):
            raise DetokenizerError(
                f"{self.path} fails its self-test: colours differ by up to {worst:.1f} of 255"
            )
