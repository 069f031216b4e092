"""A picture brought up to date, update by update, with torch or with the ONNX file.

The exporter's own driver of what `incremental.py` computes: it holds the state and puts the lines
together. The client has one of its own and meets this one only in the file. This module must not
know how the file was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from rowcast_export.incremental import IncrementalModule, Window
from rowcast_export.runtime import Ids, OnnxFile, Pixels

Floats = npt.NDArray[np.float32]


class Updater(Protocol):
    """One update: (ids, window, state) -> (pixels of the window, coarse picture, state).

    `state` is `carried` and the caches; None before the first row.
    """

    def __call__(
        self, ids: Ids, window: Window, state: Sequence[Floats] | None
    ) -> tuple[Floats, Floats, list[Floats]]: ...


class TorchUpdater:
    """The module in float32."""

    def __init__(self, module: IncrementalModule) -> None:
        self.module = module

    def __call__(
        self, ids: Ids, window: Window, state: Sequence[Floats] | None
    ) -> tuple[Floats, Floats, list[Floats]]:
        tensors = (
            self.module.empty_state(ids.shape[0], ids.shape[2])
            if state is None
            else [torch.from_numpy(part) for part in state]
        )
        given = window.inputs()
        with torch.inference_mode():
            pixels, coarse, *after = self.module(
                torch.from_numpy(ids),
                torch.from_numpy(given["window"]),
                torch.from_numpy(given["leaving"]),
                *tensors,
            )
        return pixels.numpy(), coarse.numpy(), [part.numpy() for part in after]


class OnnxUpdater(OnnxFile):
    """The file, on the CPU."""

    def __init__(
        self, model: Path | bytes, threads: int = 0, weights: tuple[str, bytes] | None = None
    ) -> None:
        super().__init__(model, threads, weights)
        self.state_inputs = {
            value.name: value.shape
            for value in self.session.get_inputs()
            if value.name not in ("ids", "window", "leaving")
        }

    def __call__(
        self, ids: Ids, window: Window, state: Sequence[Floats] | None
    ) -> tuple[Floats, Floats, list[Floats]]:
        if state is None:
            state = [self._zeros(shape, ids) for shape in self.state_inputs.values()]
        named = dict(zip(self.state_inputs, state, strict=True))
        pixels, coarse, *after = self.session.run(
            ["pixels", "coarse", *(f"{name}_next" for name in self.state_inputs)],
            {"ids": ids, **window.inputs(), **named},
        )
        return pixels, coarse, after

    def _zeros(self, shape: Sequence[int | str], ids: Ids) -> Floats:
        """A state of the shape that the file gives: numbers, `batch` and `s*cols`."""
        sizes = [
            ids.shape[0]
            if axis == "batch"
            else int(axis.removesuffix("*cols")) * ids.shape[2]
            if isinstance(axis, str)
            else axis
            for axis in shape
        ]
        return np.zeros(sizes, np.float32)


class Painting:
    """A batch of pictures and what the next update needs to know of the last."""

    def __init__(self, updater: Updater, redone_half_rows: int) -> None:
        self.updater = updater
        self.redone_half_rows = redone_half_rows
        self.rows = 0
        self.coarse: Floats | None = None
        self.state: list[Floats] | None = None
        self._values: Floats | None = None  # unclipped

    def show(self, ids: Ids) -> Pixels:
        """All rows so far, more than before -> pixels [batch, 3, rows * p, cols * p] in 0..1."""
        window = Window.of(self.rows, ids.shape[1], self.redone_half_rows)
        values, coarse, self.state = self.updater(ids, window, self.state)
        if self._values is not None and self.coarse is not None and window.first > 0:
            side = values.shape[3] // ids.shape[2]
            change = enlarge(coarse[:, :, : self.rows] - self.coarse, side)
            above = window.first * side // 2
            kept = self._values[:, :, :above] + change[:, :, :above]
            values = np.concatenate((kept, values), axis=2)
        self.rows, self.coarse, self._values = ids.shape[1], coarse, values
        shown: Pixels = np.clip(values, 0.0, 1.0)
        return shown


def enlarge(values: Floats, side: int) -> Floats:
    """[batch, 3, rows, cols] -> [batch, 3, rows * side, cols * side].

    Linear between the centres of tokens, constant outside the outermost.
    """
    down, across = (_weights(size, side) for size in values.shape[2:])
    return np.asarray(down @ values @ across.T, np.float32)


def _weights(size: int, side: int) -> Floats:
    """[size * side, size]: each pixel's share of its two nearest tokens."""
    places = np.clip((np.arange(size * side) + 0.5) / side - 0.5, 0, size - 1)
    distance = np.abs(places[:, None] - np.arange(size))
    shares: Floats = np.maximum(0, 1 - distance).astype(np.float32)
    return shares
