"""The cache folder, for files that can be had again: the client's, and the server's too."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import platformdirs


def default_cache() -> Path:
    """$ROWCAST_CACHE, or the platform's cache folder.

    Raises OSError where nobody knows a home folder (a container's user without a name).
    """
    try:
        named = os.environ.get("ROWCAST_CACHE")
        return Path(named).expanduser() if named else platformdirs.user_cache_path("rowcast")
    except RuntimeError as error:
        raise OSError(
            errno.ENOENT, "there is no home folder; set HOME, or ROWCAST_CACHE to a folder"
        ) from error
