"""Record of the stages that are done: their settings, and the files that each has finished.

One JSON file beside the work. A stage is done if it was recorded with the same settings, after the
same stages, and each of its files is still what it was; so whatever ended a run, the next one does
what is not done, and no more. This module must not know what a stage does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..errors import RowcastError
from ..whole_files import whole_file

FORMAT: Final = 1


class PrepareError(RowcastError):
    """A model that cannot be prepared; the message says why, and what to do."""


class Stages:
    """The record in ``path``, which need not be there. Raises PrepareError where it is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stages: dict[str, dict[str, Any]] = {}
        if path.is_file():
            try:
                record = json.loads(path.read_text("utf-8"))
                if record["format"] != FORMAT:
                    raise ValueError(f"of format {record['format']}")
                self._stages = dict(record["stages"])
            except (ValueError, KeyError, TypeError) as error:
                raise PrepareError(
                    f"{path} is damaged ({error}); remove its folder to begin anew"
                ) from error

    def settings(self, stage: str) -> dict[str, Any] | None:
        """The settings with which a stage was begun or done; None if it never was."""
        entry = self._stages.get(stage)
        return None if entry is None else entry["settings"]

    def is_done(self, stage: str, settings: Mapping[str, Any]) -> bool:
        """True if the stage was done so, and its files are as they were."""
        entry = self._stages.get(stage)
        if entry is None or entry["settings"] != settings or not entry["files"]:
            return False
        try:
            return all(
                digest == sha256_of(self._path.parent / file)
                for file, digest in entry["files"].items()
            )
        except OSError:
            return False

    def begin(self, stage: str, settings: Mapping[str, Any]) -> None:
        """Record what is about to be done. Raises OSError."""
        self._write(stage, settings, {})

    def end(self, stage: str, settings: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Record what is done: the files, whole under their names. Raises OSError."""
        found = {self.relative(file): sha256_of(file) for file in files}
        self._write(stage, settings, found)

    def relative(self, file: Path) -> str:
        """A file as the record names it: by its way from there, so that both may be moved."""
        return Path(os.path.relpath(file, self._path.parent)).as_posix()

    def _write(self, stage: str, settings: Mapping[str, Any], files: dict[str, str]) -> None:
        self._stages[stage] = {"settings": dict(settings), "files": files}
        record = {"format": FORMAT, "stages": self._stages}
        with whole_file(self._path, make_folders=True) as pending:
            pending.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def sha256_of(path: Path) -> str:
    """The digest of a file's bytes, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
