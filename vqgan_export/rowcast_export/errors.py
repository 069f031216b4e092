"""Every exception of the exporter, as children of the client's base.

::

    RowcastError
    ├── CheckpointError       a checkpoint cannot be read, or holds no decoder (``formats``)
    └── ExportError           an export cannot be done; nothing was written
        ├── SettingsError     a checkpoint's notes make no sense, or contradict the caller
        ├── GridsError        a file holds no grids of token ids of this decoder
        ├── DistillError      a training cannot go on
        └── VerificationFailed   a written file and the torch module disagree
            └── TooCoarse     in precision alone
"""

from __future__ import annotations

from rowcast.errors import RowcastError


class ExportError(RowcastError):
    """An export that cannot be done; the message says why, and what to do."""


class SettingsError(ExportError, ValueError):
    """A checkpoint whose words about itself make no sense, or contradict the caller's."""


class GridsError(ExportError, ValueError):
    """A file that holds no grids of this decoder; the message names it and says why."""


class DistillError(ExportError):
    """A training that cannot go on; the message says why, and what to do."""


class VerificationFailed(ExportError):
    """The file and the module disagree; the message names what disagreed, and by how much."""


class TooCoarse(VerificationFailed):
    """Nothing is wrong but the precision: the pictures are too far from torch's on the whole."""
