"""A picture as a grid of token ids that grows row by row, and the recipe that determines it.

Knows neither sockets nor pixels. `Sampling` is the one list of sampling parameters: requests, the
command line, .rows and PNG files derive theirs from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypedDict, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidRequest, ProtocolError
from .messages import (
    DetokenizerFile,
    Digest,
    DoneReason,
    Model,
    ModelName,
    Revision,
    Side,
    Unsigned16,
    Unsigned32,
    ids_checksum,
)

# Of detokenizer files, the most exact first. On the CPU ONNX Runtime computes in fp32 whatever the
# file holds, so this is also the order there.
PRECISIONS: Final = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters; with seed and image number they make a picture repeatable.

    Each field's ``help`` is its line in the help of the commands.
    """

    temperature: float = field(metadata={"help": "higher is more varied"})
    top_k: Unsigned32 = field(metadata={"help": "keep the K best tokens; 0 keeps all"})
    top_p: float = field(metadata={"help": "keep tokens of this probability"})
    guidance: float = field(metadata={"help": "how closely to follow the text"})
    min_p: float = field(
        default=0.0, metadata={"help": "keep tokens this likely beside the likeliest"}
    )


# Nobody draws with it: a temperature of 0 is refused.
UNKNOWN_SAMPLING: Final = Sampling(temperature=0.0, top_k=0, top_p=0.0, guidance=0.0)


class SamplingOptions(TypedDict, total=False):
    """The fields of `Sampling` as keyword options; None leaves one to the server."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    guidance: float | None
    min_p: float | None


# The sampling parameters' names and types: int, or float.
SAMPLING: Final[dict[str, type[int] | type[float]]] = get_type_hints(Sampling)


def sampling_options(source: object) -> SamplingOptions:
    """The sampling parameters among an object's attributes: a `Sampling`'s, a command line's."""
    return cast(SamplingOptions, {name: getattr(source, name) for name in SAMPLING})


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a picture's ids, and the file that turns them into pixels.

    ``rows`` x ``cols`` is the whole grid. ``detokenizer_sha256`` is None where none was announced.
    A .rows file has these fields in this order, those with a default last (protocol.md section 9).
    """

    model: ModelName
    revision: Revision
    prompt: str
    seed: Unsigned32
    image: Unsigned16
    sampling: Sampling
    rows: Side
    cols: Side
    id_bytes: Literal[2, 4]
    detokenizer_sha256: Digest | None

    @property
    def is_known(self) -> bool:
        """True if prompt and sampling are known, which those of a watched picture are not: there
        the prompt is empty, and the sampling is UNKNOWN_SAMPLING (R-102)."""
        return bool(self.prompt)


def detokenizer_file(
    model: Model, kind: str, precisions: Sequence[str] = PRECISIONS
) -> DetokenizerFile | None:
    """The announced file of a kind, in the first of these precisions that there is; else None."""
    for precision in precisions:
        for file in model.files:
            if (file.kind, file.precision) == (kind, precision):
                return file
    return None


@dataclass(eq=False)
class Picture:
    """A picture as far as its rows have arrived.

    ``ids`` is [rows, cols] uint32, of which the first ``rows_held`` rows are known; all are smaller
    than ``codebook_size``, which a saved picture does not know. ``reason`` is None until the
    picture has ended.
    """

    recipe: Recipe
    codebook_size: int = 2**32
    ids: NDArray[np.uint32] = field(init=False, repr=False)
    rows_held: int = 0
    reason: DoneReason | int | None = None
    milliseconds: int = 0
    text_cut: int = 0  # tokens of the prompt that the model did not read
    text_lost: int = 0  # characters of the prompt that the model does not know
    view_key: bytes = b""  # by which others can watch it; empty for a saved picture

    def __post_init__(self) -> None:
        self.ids = np.zeros((self.recipe.rows, self.recipe.cols), np.uint32)

    @property
    def grid(self) -> NDArray[np.uint32]:
        """The rows held, [rows_held, cols]: a copy that later rows do not change."""
        return self.ids[: self.rows_held].copy()

    @property
    def complete(self) -> bool:
        """True if all rows are held."""
        return self.rows_held == self.recipe.rows

    @property
    def held_bytes(self) -> bytes:
        """The ids held, little-endian: the bytes of a `prefix`, and of checksums."""
        return self.ids[: self.rows_held].astype(f"<u{self.recipe.id_bytes}").tobytes()

    @property
    def checksum(self) -> int:
        """CRC-32 of the ids held (R-24)."""
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


def check_picture(value: Picture) -> None:
    """Raise InvalidRequest unless ``value`` is a picture: an event is not, nor is a file's path."""
    if not isinstance(value, Picture):
        raise InvalidRequest(
            f"picture must be a Picture, not {type(value).__name__}: an event's is event.picture, "
            "a file's is load_rows(path)"
        )
