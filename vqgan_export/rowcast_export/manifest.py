"""The manifest of an export: its files with sizes, sha256, metadata and measured agreement.

This module must not know how files are made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from .agreements import AnyAgreement
from .formats.detokenizers import sha256_of

FILE_NAME: Final = "manifest.json"


@dataclass(frozen=True)
class Exported:
    """A finished file: where it lies, its size in bytes, its sha256, and how well it agrees."""

    path: Path
    bytes: int
    sha256: str
    metadata: dict[str, str]
    agreement: AnyAgreement


def manifest(exported: Sequence[Exported], kept: Sequence[Mapping[str, Any]] = ()) -> str:
    """``manifest.json``: one entry for each file beside it; ``kept`` are entries as they stood."""
    entries = [
        {
            "file": file.path.name,
            "bytes": file.bytes,
            "sha256": file.sha256,
            "metadata": file.metadata,
            "agreement": asdict(file.agreement),
        }
        for file in exported
    ]
    return json.dumps({"format": 1, "files": [*entries, *kept]}, indent=2) + "\n"


def kept_entries(folder: Path, written: Sequence[str], source_sha256: str) -> list[dict[str, Any]]:
    """Entries of the folder's manifest that stay: this checkpoint's, unchanged, not ``written``.

    A manifest that cannot be read has none.
    """
    try:
        entries = json.loads((folder / FILE_NAME).read_text("utf-8"))["files"]
        return [
            entry
            for entry in entries
            if entry["file"] not in written
            and entry["metadata"]["rowcast.source_sha256"] == source_sha256
            and Path(entry["file"]).name == entry["file"]
            and (folder / entry["file"]).is_file()
            and sha256_of(folder / entry["file"]) == entry["sha256"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
