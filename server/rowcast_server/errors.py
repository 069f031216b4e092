"""What goes wrong between a user's files and a model that can be served."""

from __future__ import annotations

from rowcast.errors import RowcastError


class ModelError(RowcastError):
    """A model's files are missing, damaged or do not fit; the text names the file and tensor."""
