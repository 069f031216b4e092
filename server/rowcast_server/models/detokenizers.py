"""The detokenizer of a model: ready in its folder, or exported once into the cache.

The export is the command `rowcast export` in a process of its own, so that the server needs neither
torch nor the exporter. It is kept under the hash of the file that it was made from.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

from rowcast_export import formats

from ..errors import ModelError
from ..kept_folders import cached_folder
from .client_files import Detokenizer, file_sha256, read_detokenizer
from .sources import DETOKENIZERS, ModelFiles

READY: Final = ".onnx"


def detokenizer_of(files: ModelFiles) -> Detokenizer:
    """Raises ModelError where a model has none, or where it cannot be exported."""
    if files.detokenizer is None:
        raise ModelError(
            f"the model folder {files.encoder.parent} has no detokenizer.onnx for the clients, and "
            "no detoker.pt or detokenizer.safetensors to make it from; make it with: "
            f"rowcast export SOURCE -o {files.encoder.parent}"
        )
    path = files.detokenizer if files.detokenizer.suffix == READY else _export(files.detokenizer)
    return read_detokenizer(path)


def _key(source: Path) -> bytes:
    """A hash of a checkpoint: of its shards, if it is an index of them."""
    if source.suffix != ".json":
        return file_sha256(source)
    shards = sorted(set(formats.open_checkpoint(source).shards.values()))
    return hashlib.sha256(b"".join(map(file_sha256, [source, *shards]))).digest()


def _export(source: Path) -> Path:
    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "rowcast", "export", str(source), "-o", str(folder)]
        print(
            f"making the clients' detokenizer from {source}; once, it takes some minutes …",
            file=sys.stderr,
        )
        run = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        if run.returncode:
            last = (run.stderr.strip() or f"exit code {run.returncode}").split("\n")[-1]
            raise ModelError(
                f"{source} could not be exported for the clients: {last}; to see it happen: "
                f"rowcast export {source} -o DIR"
            )

    return cached_folder("detokenizers", _key(source), make) / DETOKENIZERS[0]
