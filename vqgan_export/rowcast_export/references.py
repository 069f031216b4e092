"""What the full decoder makes of many grids, decoded once and kept in a file.

The pictures of grid 0, 1, …, one after the other, each uint8 [3, rows_i * p, cols * p]: floor(x *
255), and nothing else. What is there is not decoded again: a file that was cut short goes on after
its last whole picture. Each grid is decoded alone, so that no picture depends on what was done
before. This module must not know what the pictures are for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from rowcast_export.grids import Ids
from rowcast_export.verify import Progress
from rowcast_export.vqgan import VQGANDecoder

Planes = npt.NDArray[np.uint8]  # [3, height, width]


class References:
    """The file at `path`, which belongs to this decoder and these grids alone.

    Of grid i the first `held[i]` rows are decoded.
    """

    def __init__(self, path: Path, ids: Ids, held: npt.NDArray[np.int64], side: int) -> None:
        self._path = path
        self._ids = ids
        self._held = held
        self._side = side  # pixels of a token
        sizes = 3 * side * side * held * ids.shape[2]  # bytes
        self._ends = np.cumsum(sizes)
        self._bytes: npt.NDArray[np.uint8] | None = None

    @property
    def bytes(self) -> int:
        """What the whole file takes."""
        return int(self._ends[-1])

    def complete(self, full: VQGANDecoder, device: torch.device, on_progress: Progress) -> None:
        """Decode what the file lacks. Raises OSError; what is decoded by then stays."""
        count = len(self._ids)
        done = self._whole()
        with self._path.open("ab") as file, torch.inference_mode():
            file.truncate(int(self._ends[done - 1]) if done else 0)
            for index in range(done, count):
                on_progress("decoding the grids", index, count)
                ids = torch.from_numpy(self._ids[index : index + 1, : self._held[index]])
                pixels = full(ids.to(device))[0]
                file.write((pixels * 255).floor().to(torch.uint8).cpu().numpy().tobytes())
        self._bytes = np.memmap(self._path, np.uint8, "r")

    def _whole(self) -> int:
        """Pictures that are there to their last byte."""
        size = self._path.stat().st_size if self._path.exists() else 0
        return int(np.searchsorted(self._ends, size, side="right"))

    def picture(self, index: int) -> Planes:
        """That of a grid, once all are there."""
        assert self._bytes is not None
        start = self._ends[index - 1] if index else 0
        shape = 3, int(self._held[index]) * self._side, self._ids.shape[2] * self._side
        return self._bytes[start : self._ends[index]].reshape(shape)

    def batch(self, indices: npt.NDArray[np.int64]) -> torch.Tensor:
        """Those of grids of which equally many rows are decoded, uint8 [batch, 3, h, w]."""
        return torch.from_numpy(np.stack([self.picture(int(index)) for index in indices]))
