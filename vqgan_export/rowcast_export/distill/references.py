"""Reference pictures: the full decoder's pixels of many grids, decoded once and kept in a file.

The pictures of grid 0, 1, …, one after the other, each uint8 [3, rows * p, cols * p]: floor(x *
255), and nothing else. What is there is not decoded again: a file that was cut short goes on after
its last whole picture. Each grid is decoded alone, so that no picture depends on what was done
before. This module must not know what the pictures are for.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..progress import Progress
from ..vqgan import VQGANDecoder
from .grids import Ids

Planes = npt.NDArray[np.uint8]


class References:
    """The file at ``path``, which belongs to this decoder and these grids alone."""

    def __init__(self, path: Path, ids: Ids, side: int) -> None:
        self._path = path
        self._ids = ids
        count, rows, cols = ids.shape
        self._shape = count, 3, rows * side, cols * side  # of all pictures
        self._pictures: npt.NDArray[np.uint8] | None = None

    def complete(self, full: VQGANDecoder, device: torch.device, on_progress: Progress) -> None:
        """Decode what the file lacks. Raises OSError; what is decoded by then stays."""
        count, *picture = self._shape
        each = math.prod(picture)
        size = self._path.stat().st_size if self._path.exists() else 0
        done = min(size // each, count)  # to the last byte
        with self._path.open("ab") as file, torch.inference_mode():
            file.truncate(done * each)
            for index in range(done, count):
                on_progress("decoding the grids", index, count)
                pixels = full(torch.from_numpy(self._ids[index : index + 1]).to(device))[0]
                file.write((pixels * 255).floor().to(torch.uint8).cpu().numpy().tobytes())
        self._pictures = np.memmap(self._path, np.uint8, "r", shape=self._shape)

    @property
    def pictures(self) -> Planes:
        """All pictures, uint8 [grids, 3, height, width], once ``complete``; mapped, not read."""
        assert self._pictures is not None
        return self._pictures
