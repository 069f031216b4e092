"""Inspection of a prepared folder: each file as a client loads it, and a sheet to look at.

A row of the sheet is one grid, painted by the palette, by the preview, and by the full decoder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..grids import read_grids
from ..notebook import contact_sheet
from ..pixels.detokenizer import Detokenizer
from ..pixels.palette import Palette
from ..whole_files import whole_file
from .stages import PrepareError, sha256_of

MANIFEST: Final = "manifest.json"
SHEET: Final = "contact-sheet.png"
PICTURES: Final = 8  # on the sheet
LARGEST_SIDE: Final = 256  # of a picture there


def check_files(folder: Path, threads: int) -> dict[str, Any]:
    """Load what the manifest lists, self-tests included: its entries by their file.

    Raises PrepareError, DetokenizerError or OSError.
    """
    try:
        listed = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        entries = {entry["file"]: entry for entry in listed}
        for name, entry in entries.items():
            if sha256_of(folder / name) != entry["sha256"]:
                raise PrepareError(f"{folder / name} is not what the manifest says; remove it")
    except (ValueError, KeyError, TypeError) as error:
        raise PrepareError(f"{folder / MANIFEST} is damaged ({error}); remove it") from error
    for name in entries:
        if name.endswith(".onnx"):
            Detokenizer(folder / name, threads)  # it tests itself
    return entries


def draw_sheet(folder: Path, grids: Path, threads: int) -> Path:
    """Paint the last grids, which no small decoder was taught, into the folder's ``SHEET``.

    Raises ReplayError, DetokenizerError or OSError.
    """
    full = Detokenizer(folder / "detokenizer.onnx", threads)
    [preview, *_] = [Detokenizer(path, threads) for path in sorted(folder.glob("preview*.onnx"))]
    table = (folder / "palette.npy").read_bytes()
    palette = Palette(table, full.codebook_size, full.pixels_per_token)
    _, held = read_grids(grids)
    images = [
        Image.fromarray(painter.decode(held[number][None])[0])
        for number in sorted(held)[-PICTURES:]
        for painter in (palette, preview, full)
    ]
    side = min(LARGEST_SIDE, images[0].width)
    sheet = contact_sheet(dict(enumerate(images)), side, columns=6)
    with whole_file(folder / SHEET) as pending:
        sheet.save(pending, "PNG")
    return folder / SHEET


def fewest_db(entries: dict[str, Any], kind: str) -> float:
    """The median distance in dB of a taught file from the full decoder, the worst of its kind."""
    found: NDArray[np.float64] = np.array(
        [
            entry["agreement"].get("imitation", entry["agreement"])["psnr_db_median"]
            for entry in entries.values()
            if entry["metadata"]["rowcast.kind"] == kind
        ]
    )
    return float(found.min())
