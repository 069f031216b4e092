"""`rowcast cache`: where files are kept that can be had again, how large they are, and away.

Only what Rowcast itself wrote there is counted and removed: the folder may be any that
``$ROWCAST_CACHE`` names.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..cache import default_cache
from .parsers import JSON, CommandParser, command_parser
from .text import answer, answer_json

ACTIONS: Final = ("show", "list", "clear", "path")
# The client's files by their sha256, whole or not; the server's and the benchmarks' folders.
FILES: Final = re.compile(r"([0-9a-f]{64}\.(onnx|npy)(\.part)?|download-\w+)")
FOLDERS: Final = ("graphs", "detokenizers", "bench")


@dataclass(frozen=True)
class Entry:
    """A file, or a folder and all that is in it."""

    path: Path
    bytes: int
    used: float  # seconds since the epoch


def cache(words: list[str]) -> int:
    """Show, list or clear the files that are kept to be used again."""
    options = cache_parser().parse_anywhere(words)
    folder = default_cache()
    entries = sorted(cache_entries(folder), key=lambda entry: -entry.bytes)
    if options.action == "clear":
        for entry in entries:
            remove(entry)
    total = sum(entry.bytes for entry in entries)
    if options.json:
        files = [{"path": str(entry.path), "bytes": entry.bytes} for entry in entries]
        cleared = {"cleared": True} if options.action == "clear" else {}
        answer_json({"path": str(folder), "bytes": total, "files": files} | cleared)
        return 0
    match options.action:
        case "path":
            answer(str(folder))
            return 0
        case "list":
            for entry in entries:
                day = time.strftime("%Y-%m-%d", time.localtime(entry.used))
                answer(f"{entry.bytes / 1e6:>10,.1f} MB  {day}  {entry.path.relative_to(folder)}")
    told = f"{len(entries)} files and folders, {total / 1e6:,.1f} MB"
    answer(f"removed from {folder}: {told}" if options.action == "clear" else f"{folder}: {told}")
    return 0


def cache_parser() -> CommandParser:
    """The options of `rowcast cache`."""
    parser = command_parser(
        "cache",
        "Show the cache: detokenizer files that were fetched, and a server's prepared weights. "
        "All of it can be had again. $ROWCAST_CACHE is another folder for it.",
        "",
        "list",
        "clear",
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=ACTIONS,
        default=ACTIONS[0],
        help="show its size (default), list what is in it, clear it, or say its path alone",
    )
    parser.add_argument(JSON, action="store_true", help="say it as one line of JSON on stdout")
    return parser


def cache_entries(folder: Path) -> Iterator[Entry]:
    """What Rowcast keeps there; nothing where the folder is missing. Raises OSError."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name in FOLDERS and path.is_dir():
            yield from (_entry(each) for each in path.iterdir())
        elif FILES.fullmatch(path.name) and path.is_file():
            yield _entry(path)


def remove(entry: Entry) -> None:
    """Remove an entry, unless somebody was faster. Raises OSError."""
    if entry.path.is_dir():
        shutil.rmtree(entry.path)
    else:
        entry.path.unlink(missing_ok=True)


def _entry(path: Path) -> Entry:
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    return Entry(path, sum(each.stat().st_size for each in files), path.stat().st_mtime)
