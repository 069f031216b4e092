"""What the readers of this package give: tensors with the story of where they lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from rowcast_export.formats.families import PLAIN, Family

Read = Callable[[], Tensor]


class CheckpointError(Exception):
    """A checkpoint that cannot be used; the message names the file and says what was found."""


@dataclass(frozen=True)
class Stored:
    """An opened file. A tensor is read when it is asked for: nobody pays for an encoder."""

    path: Path
    container: str
    tensors: dict[str, Read]
    notes: dict[str, str] = field(default_factory=dict)  # what the file says of itself


@dataclass(frozen=True)
class Checkpoint:
    """What was read: float32 tensors, the file's own free-form notes, the sha256 of its bytes.

    The tensors of a detokenizer are under min-dalle's names, whatever their `family` calls them.
    """

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str
    family: Family = PLAIN
