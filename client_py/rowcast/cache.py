"""The cache folder, for files that can be had again: the client's, and the server's too."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def default_cache() -> Path:
    """$ROWCAST_CACHE, or the platform's cache folder."""
    return Path(os.environ.get("ROWCAST_CACHE") or platformdirs.user_cache_path("rowcast"))
