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


def reference_pictures(
    path: Path, full: VQGANDecoder, ids: Ids, device: torch.device, on_progress: Progress
) -> Planes:
    """All pictures, uint8 [grids, 3, height, width], mapped; what the file lacks is decoded.

    The file at ``path`` belongs to this decoder and these grids alone. Raises OSError; what is
    decoded by then stays.
    """
    count, rows, cols = ids.shape
    side = full.shape.pixels_per_token
    shape = count, 3, rows * side, cols * side
    each = math.prod(shape[1:])
    size = path.stat().st_size if path.exists() else 0
    done = min(size // each, count)  # to the last byte
    with path.open("ab") as file, torch.inference_mode():
        file.truncate(done * each)
        for index in range(done, count):
            on_progress("decoding the grids", index, count)
            pixels = full(torch.from_numpy(ids[index : index + 1]).to(device))[0]
            file.write((pixels * 255).floor().to(torch.uint8).cpu().numpy().tobytes())
    return np.memmap(path, np.uint8, "r", shape=shape)
