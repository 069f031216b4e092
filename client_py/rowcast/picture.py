"""The grid of tokens that a picture grows from. Knows neither sockets nor pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ProtocolError
from .messages import DoneReason, ids_checksum


@dataclass(frozen=True)
class Sampling:
    """How the tokens were drawn; together with seed and image it makes the picture repeatable."""

    temperature: float
    top_k: int
    top_p: float
    guidance: float


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a picture's ids, and the file that turns them into pixels.

    ``rows`` x ``cols`` is the whole grid. ``detokenizer_sha256`` is None where none was announced.
    """

    model: str
    revision: bytes
    prompt: str
    seed: int
    image: int
    sampling: Sampling
    rows: int
    cols: int
    id_bytes: Literal[2, 4]
    detokenizer_sha256: bytes | None


@dataclass(eq=False)
class Picture:
    """A picture as far as its rows have arrived.

    ``ids`` is [rows, cols] uint32, of which the first ``rows_held`` rows are known; all are smaller
    than ``codebook_size``, which a saved picture does not know. ``reason`` is None until the
    picture has ended.
    """

    recipe: Recipe
    codebook_size: int = 2**32
    ids: NDArray[np.uint32] = field(init=False)
    rows_held: int = 0
    reason: DoneReason | int | None = None
    milliseconds: int = 0
    text_cut: int = 0  # tokens of the prompt that the model did not read

    def __post_init__(self) -> None:
        self.ids = np.zeros((self.recipe.rows, self.recipe.cols), np.uint32)

    @property
    def grid(self) -> NDArray[np.uint32]:
        """The rows held, [rows_held, cols]: a copy that later rows do not change."""
        return self.ids[: self.rows_held].copy()

    @property
    def complete(self) -> bool:
        return self.rows_held == self.recipe.rows

    @property
    def held_bytes(self) -> bytes:
        """The ids held, little-endian: what `prefix` carries and checksums are made over."""
        return self.ids[: self.rows_held].astype(f"<u{self.recipe.id_bytes}").tobytes()

    @property
    def checksum(self) -> int:
        return ids_checksum(self.held_bytes)

    def add_rows(self, first_row: int, ids: bytes) -> None:
        """Append whole rows of little-endian ids.

        Raises ProtocolError for rows that skip, repeat, split or overflow, and for an id that is
        not in the codebook (R-28).
        """
        row_bytes = self.recipe.cols * self.recipe.id_bytes
        count, rest = divmod(len(ids), row_bytes)
        if rest or count == 0:
            raise ProtocolError(f"{len(ids)} bytes of ids are no whole rows of {row_bytes} bytes")
        if first_row != self.rows_held:
            raise ProtocolError(f"row {first_row} arrived where row {self.rows_held} was due")
        if first_row + count > self.recipe.rows:
            raise ProtocolError(f"row {first_row + count - 1} of a grid of {self.recipe.rows} rows")
        values = np.frombuffer(ids, f"<u{self.recipe.id_bytes}")
        if int(values.max()) >= self.codebook_size:
            raise ProtocolError(f"the id {values.max()} in a codebook of {self.codebook_size}")
        self.ids[first_row : first_row + count] = values.reshape(count, self.recipe.cols)
        self.rows_held += count
