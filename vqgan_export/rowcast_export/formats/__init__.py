"""Readers of foreign checkpoint files, and of the VQGAN decoders in them.

The one place that reads a file which somebody else wrote: the exporter's and the server's. It loads
weights only: nothing in a file is ever executed. A file is recognised by its content, never by its
name: its container by the first bytes (``containers.py``), its family by the names of its tensors
(``families.py``). Nothing is read whole: tensors are views of the mapped file, in numpy.

This package must not know what becomes of the tensors. It imports numpy, the file libraries and the
base of our errors, and torch only once a file of torch's is opened, so that the server may use it
alone and without torch.
"""

from __future__ import annotations

from .containers import open_checkpoint
from .detokenizers import Checkpoint, read_detokenizer
from .families import FAMILIES, PLAIN, Family
from .sharded_files import shard_hint
from .stored import (
    FLOATING,
    Array,
    CheckpointError,
    StoredCheckpoint,
    StoredTensor,
)

__all__ = [
    "FAMILIES",
    "FLOATING",
    "PLAIN",
    "Array",
    "Checkpoint",
    "CheckpointError",
    "Family",
    "StoredCheckpoint",
    "StoredTensor",
    "open_checkpoint",
    "read_detokenizer",
    "shard_hint",
]
