"""Pictures while they form, brought up to date by an incremental decoder file.

An update decodes the new rows and the few before them, and moves the colours of the rest; what it
costs and how near it comes to a full decode is in DECISIONS.md. The last picture is not made here:
`detokenizer.py` decodes it whole. The file is a graph whose weights are those of the full decoder's
file. It tells about itself in its metadata, and its self-test is run when it is loaded.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .errors import DetokenizerError
from .onnx_file import DAMAGE, FORMAT, Weights, check_thumbnail, open_file

KIND: Final = "incremental"
PICTURES: Final = 8  # remembered, unless told otherwise

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _State:
    """What the next update of a picture needs of the last. Never changed, only replaced."""

    ids: NDArray[np.int64]  # [rows, cols]
    values: Floats  # unclipped, [3, rows * p, cols * p], 0 black and 1 white
    coarse: Floats  # [3, rows, cols]
    tensors: tuple[Floats, ...]  # `carried` and the caches, as the file wants them back


class IncrementalDecoder:
    """A loaded incremental file, or its bytes. Raises DetokenizerError for one that is none.

    ``weights`` is the full decoder's file; None is for a file that has its own inside, or lies
    beside a ``detokenizer.onnx``. ``name`` names bytes in errors. ``threads`` bounds what an update
    takes of the machine. The state of the ``pictures`` that were asked for last is kept, of 16 x 16
    tokens with 16 pixels each about 4 MB a picture; one that was dropped is decoded anew. Threads
    may share a decoder: one update runs at a time.
    """

    def __init__(
        self,
        source: Path | str | bytes,
        threads: int = 1,
        pictures: int = PICTURES,
        *,
        weights: Weights | None = None,
        name: str | None = None,
    ) -> None:
        if pictures < 1:
            raise ValueError(f"pictures must be at least 1, not {pictures}")
        path = Path(name or KIND) if isinstance(source, bytes) else Path(source)
        self.path = path
        self._pictures = pictures
        self._states: OrderedDict[Hashable, _State] = OrderedDict()
        self._lock = threading.Lock()  # of the states, never for long
        self._updating = threading.Lock()
        self._session, metadata = open_file(source, path, threads, weights=weights)
        found = metadata.get("rowcast.format"), metadata.get("rowcast.kind")
        if found != (FORMAT, KIND):
            raise DetokenizerError(
                f"{path} is an ONNX file, but no incremental decoder written by `rowcast export`"
                f" (rowcast.format and rowcast.kind are {found}, not {(FORMAT, KIND)})"
            )
        needed = metadata.get("rowcast.weights_sha256")
        if weights is not None and needed != weights.sha256.hex():
            raise DetokenizerError(
                f"{path} takes its weights from the full decoder {needed}, not from "
                f"{weights.sha256.hex()}: they are of two exports"
            )
        self.kind = KIND
        try:
            self.model = metadata["rowcast.model"]
            self.codebook_size = int(metadata["rowcast.codebook_size"])
            self.pixels_per_token = int(metadata["rowcast.pixels_per_token"])
            self.redone_half_rows = int(metadata["rowcast.redone_half_rows"])
            self._groups = int(metadata["rowcast.carried_groups"])
            self._caches = [
                (int(channels), int(scale))
                for channels, scale in json.loads(metadata["rowcast.caches"])
            ]
            names = ["carried", *(f"cache_{index}" for index in range(len(self._caches)))]
            self._inputs = names
            self._outputs = ["pixels", "coarse", *(f"{name}_next" for name in names)]
            self._self_test(json.loads(metadata["rowcast.self_test"]))
        except DAMAGE as error:
            raise DetokenizerError(f"{path} has damaged metadata: {error!r}") from error

    def paint(self, picture: Hashable, ids: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The rows so far, ``ids`` [held, cols] with held >= 1, as RGB [held * p, cols * p, 3].

        ``picture`` is any key by which the caller knows the picture again. Rows may have been
        skipped since the last call; where the rows do not go on from it, they are decoded anew.
        Raises DetokenizerError for an id outside the codebook, for a shape that is no grid, or
        where the runtime fails; the picture's state then stays what it was.
        """
        grid = self._checked(ids)
        with self._updating:
            with self._lock:
                state = self._states.get(picture)
            if state is None or not _goes_on(state.ids, grid):
                state = self._update(None, grid)
            elif len(grid) > len(state.ids):
                state = self._update(state, grid)
            with self._lock:
                self._states[picture] = state
                self._states.move_to_end(picture)
                while len(self._states) > self._pictures:
                    self._states.popitem(last=False)
        return _to_bytes(state.values)

    def forget(self, picture: Hashable) -> None:
        """Drop what is remembered of a picture; one that is not known is no error.

        Waits for no update; one of this picture that is under way will be remembered again.
        """
        with self._lock:
            self._states.pop(picture, None)

    def _checked(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """A copy that nobody else changes."""
        grid = np.array(ids, np.int64)
        if grid.ndim != 2 or 0 in grid.shape:
            raise DetokenizerError(
                f"ids of shape {grid.shape}: wanted [rows, cols], each at least 1"
            )
        if not 0 <= int(grid.min()) <= int(grid.max()) < self.codebook_size:
            worst = int(grid.min()) if grid.min() < 0 else int(grid.max())
            raise DetokenizerError(
                f"the id {worst} is outside the codebook of {self.codebook_size}"
            )
        return grid

    def _update(self, state: _State | None, grid: NDArray[np.int64]) -> _State:
        """The state with all rows of ``grid``, from the last one or from nothing."""
        rows, cols = grid.shape
        held = 0 if state is None else len(state.ids)
        first = max(0, 2 * held - self.redone_half_rows)  # of the half rows that are decoded
        leaving = max(0, 2 * rows - self.redone_half_rows) - first
        tensors = self._zeros(cols) if state is None else state.tensors
        feed: dict[str, Any] = {
            "ids": grid[None],
            "window": np.arange(first, 2 * rows),
            "leaving": np.array([leaving]),
            **dict(zip(self._inputs, tensors, strict=True)),
        }
        try:
            pixels, coarse, *after = self._session.run(self._outputs, feed)
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise DetokenizerError(f"{self.path} cannot decode: {error}") from error
        values = pixels[0]
        if not np.isfinite(values).all():
            raise DetokenizerError(f"{self.path} cannot decode: NaN or infinity")
        if state is not None and first > 0:
            side = self.pixels_per_token
            above = first * side // 2
            change = _enlarge(coarse[0, :, :held] - state.coarse, side)
            kept = state.values[:, :above] + change[:, :above]
            values = np.concatenate([kept, values], axis=1)
        return _State(grid, values, coarse[0], tuple(after))

    def _zeros(self, cols: int) -> tuple[Floats, ...]:
        """The state before the first row."""
        lines = [np.zeros((1, count, 1, scale * cols), np.float32) for count, scale in self._caches]
        return (np.zeros((1, 2, self._groups), np.float32), *lines)

    def _self_test(self, test: Mapping[str, Any]) -> None:
        rows, cols = (int(test[name]) for name in ("rows", "cols"))
        grid = np.array(test["ids"], np.int64).reshape(rows, cols)
        state: _State | None = None
        for held in test["updates"]:
            state = self._update(state, self._checked(grid[: int(held)]))
        if state is None or len(state.ids) != rows:
            raise ValueError(f"updates {test['updates']} of {rows} rows")
        side = self.pixels_per_token
        pixels = _to_bytes(state.values)
        check_thumbnail(self.path, pixels, (rows * side, cols * side), test)


def _goes_on(held: NDArray[np.int64], grid: NDArray[np.int64]) -> bool:
    """Whether ``grid`` begins with the rows held."""
    return held.shape[1] == grid.shape[1] and np.array_equal(grid[: len(held)], held)


def _to_bytes(values: Floats) -> NDArray[np.uint8]:
    """[3, height, width] -> [height, width, 3], truncated as the full decoder's."""
    scaled = np.clip(values, 0.0, 1.0).transpose(1, 2, 0) * np.float32(255)
    with np.errstate(invalid="ignore"):  # NaN from damaged weights: the self-test tells
        return scaled.astype(np.uint8)


def _enlarge(values: Floats, side: int) -> Floats:
    """[3, rows, cols] -> [3, rows * side, cols * side], linear between the centres of tokens."""
    down, across = (_shares(size, side) for size in values.shape[1:])
    return np.asarray(down @ values @ across.T, np.float32)


def _shares(size: int, side: int) -> Floats:
    """[size * side, size]: each pixel's share of its two nearest tokens."""
    places = np.clip((np.arange(size * side) + 0.5) / side - 0.5, 0, size - 1)
    shares: Floats = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size))).astype(np.float32)
    return shares
