"""Grid files: the ids of many pictures that a model drew, to teach a small decoder from.

A `.npz` that NumPy reads without pickle:

========= ============================ ====================================================
`ids`     uint16 or uint32 [n, r, c]   the grids, whole ones only
`numbers` uint32 [n]                   which picture each is, rising: line * images + image
`about`   uint8 [bytes]                JSON in UTF-8, see `Origin`, and `"format": 1`
========= ============================ ====================================================

Together with its number a grid can be drawn anew: picture k of the file is image k of the seed, so
no two share their noise. This module must not know where grids come from.
"""

from __future__ import annotations

import json
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidRequest, ReplayError
from .messages import MAX_STREAM
from .whole_files import whole_file

Grid = NDArray[np.uint32]  # [rows, cols]

FORMAT: Final = 1
MOST_PICTURES: Final = MAX_STREAM + 1  # a picture is an image of one seed
SAVE_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Origin:
    """Origin of the grids of a file: the request; two origins do not share a file.

    ``images`` pictures are drawn of each of the ``prompts``. ``sampling`` maps names to values.
    """

    model: str
    revision: str  # hexadecimal
    codebook_size: int
    rows: int
    cols: int
    seed: int
    images: int
    sampling: dict[str, float]
    prompts: list[str]

    @property
    def count(self) -> int:
        """Number of all pictures, drawn or not."""
        return len(self.prompts) * self.images

    def prompt(self, number: int) -> str:
        """The prompt of a picture."""
        return self.prompts[number // self.images]


class GridFile:
    """Grids by number, and the file that they are saved in, complete or not at all.

    Raises ReplayError where ``path`` is a file that is damaged, or of another origin; prompts may
    have been added at the end since. InvalidRequest for more than 65,536 pictures.
    """

    def __init__(self, path: Path, origin: Origin) -> None:
        if origin.count > MOST_PICTURES:
            raise InvalidRequest(
                f"{origin.count} pictures of one seed; a file holds at most {MOST_PICTURES}"
            )
        self.path = path
        self.origin = origin
        self.grids: dict[int, Grid] = {}
        self._saved = time.monotonic()
        if path.exists():
            found, self.grids = read_grids(path)
            self._check(found)

    @property
    def missing(self) -> list[int]:
        """Numbers of the pictures that are still to be drawn."""
        return [number for number in range(self.origin.count) if number not in self.grids]

    def add(self, number: int, grid: Grid) -> None:
        """Keep one more grid; every SAVE_SECONDS the file is written anew. Raises OSError."""
        self.grids[number] = grid
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the grids held. Raises OSError; then the file is as it was."""
        numbers = sorted(self.grids)
        small = self.origin.codebook_size <= 2**16
        shape = (len(numbers), self.origin.rows, self.origin.cols)
        ids = np.empty(shape, np.uint16 if small else np.uint32)
        for index, number in enumerate(numbers):
            ids[index] = self.grids[number]
        about = json.dumps({"format": FORMAT, **asdict(self.origin)}, ensure_ascii=False)
        with whole_file(self.path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                ids=ids,
                numbers=np.array(numbers, np.uint32),
                about=np.frombuffer(about.encode(), np.uint8),
            )
        self._saved = time.monotonic()

    def _check(self, found: Origin) -> None:
        """Raise ReplayError where the file's origin is another, or has more prompts than ours."""
        for name, value in asdict(found).items():
            wanted = getattr(self.origin, name)
            if name == "prompts":
                value, wanted = value[: len(wanted)], wanted[: len(value)]
            if value != wanted:
                told = "" if name == "prompts" else f" ({value}, not {wanted})"
                raise ReplayError(
                    f"{self.path} holds grids of other {name}{told}; name another file, or "
                    "remove it"
                )
        if len(found.prompts) > len(self.origin.prompts):
            raise ReplayError(
                f"{self.path} was begun with {len(found.prompts)} prompts, these are only "
                f"{len(self.origin.prompts)}; name another file, or remove it"
            )


def read_grids(path: Path) -> tuple[Origin, dict[int, Grid]]:
    """The grids of a file by number. Raises OSError, or ReplayError for another file."""
    try:
        # NumPy leaves a file open that it opened and cannot read.
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no .npz file")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about: dict[str, Any] = json.loads(arrays["about"].tobytes())
            ids, numbers = arrays["ids"], arrays["numbers"]
        if about.pop("format") != FORMAT:
            raise ValueError("of another format")
        origin = Origin(**about)
        if ids.shape != (len(numbers), origin.rows, origin.cols) or ids.dtype.kind != "u":
            raise ValueError(f"ids of shape {ids.shape}")
        if numbers.size and int(numbers.max()) >= origin.count:
            raise ValueError(f"picture {numbers.max()} of {origin.count}")
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ReplayError(f"{path} is no file of grids, or is damaged: {error}") from error
    grids = {int(number): grid for number, grid in zip(numbers, ids.astype(np.uint32), strict=True)}
    return origin, grids
