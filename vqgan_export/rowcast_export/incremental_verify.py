"""Does a written incremental file do what the torch module does? It says yes, or it raises.

Reads the file as a client would, compares operators, names, axes and metadata, then pictures,
update by update, against the torch module, and each first picture against a full decode. This
module must not know how the file was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from rowcast_export.graph_checks import VerificationFailed, check_interface, check_operators
from rowcast_export.incremental import IncrementalModule
from rowcast_export.incremental_painting import OnnxUpdater, Painting, TorchUpdater
from rowcast_export.incremental_self_test import IncrementalSelfTest
from rowcast_export.runtime import Pixels
from rowcast_export.verify import Progress

LARGEST_DIFFERENCE: Final = 1e-3  # of the range 0..1


@dataclass(frozen=True)
class Schedule:
    """`updates` are the rows held after each update."""

    batch: int
    cols: int
    updates: tuple[int, ...]

    @property
    def where(self) -> str:
        return f"{self.batch} pictures {self.cols} wide"


SCHEDULES: Final = (
    Schedule(1, 16, (1, 2, 3, 4, 5, 6, 7, 8)),
    Schedule(2, 5, (2, 6, 7)),
    Schedule(3, 3, (2, 4)),
    Schedule(1, 16, (12, 16)),
)


@dataclass(frozen=True)
class IncrementalAgreement:
    """What was compared and how far apart it was, of the range 0..1."""

    updates: int
    value_difference: float  # from torch, the largest
    full_difference: float  # of first pictures, from a full decode of the same rows


def verify_incremental(
    path: Path,
    module: IncrementalModule,
    metadata: Mapping[str, str],
    threads: int = 0,
    on_progress: Progress = lambda what, done, total: None,
    weights: tuple[str, bytes] | None = None,
) -> IncrementalAgreement:
    """Compare the file, update by update, with the module, and its first picture with a full
    decode. `weights` are the name and the bytes of the file that it takes its weights from.

    Raises VerificationFailed. Takes about as long as decoding 1,500 tokens twice.
    """
    on_progress("checking the graph", 0, len(SCHEDULES))
    _check_graph(path, module, metadata, weights)
    try:
        # Its bytes: by its path a runtime would look for weights in the folder, too.
        updater = OnnxUpdater(path.read_bytes(), threads, weights)
    except Exception as error:  # ONNX Runtime's own kinds of error have no common base
        raise VerificationFailed(f"ONNX Runtime cannot load the file: {error}") from error
    redone = int(metadata["rowcast.redone_half_rows"])
    updates, largest, from_full = 0, 0.0, 0.0
    for seed, schedule in enumerate(SCHEDULES):
        on_progress(f"updates of {schedule.where}", seed, len(SCHEDULES))
        shape = (schedule.batch, schedule.updates[-1], schedule.cols)
        ids = np.random.default_rng(seed).integers(0, module.decoder.shape.codebook_size, shape)
        mine, wanted = Painting(updater, redone), Painting(TorchUpdater(module), redone)
        for rows in schedule.updates:
            where = f"{schedule.where}, {rows} rows"
            try:
                seen = mine.show(ids[:, :rows])
            except Exception as error:  # as above
                raise VerificationFailed(f"{where}: ONNX Runtime failed: {error}") from error
            largest = max(largest, _difference(where, seen, wanted.show(ids[:, :rows])))
            if rows == schedule.updates[0]:
                with torch.inference_mode():
                    full = module.decoder(torch.from_numpy(ids[:, :rows])).numpy()
                from_full = max(from_full, _difference(f"{where}, a full decode", seen, full))
            updates += 1
    on_progress("self-test", len(SCHEDULES), len(SCHEDULES))
    test = IncrementalSelfTest.from_json(updater.metadata["rowcast.self_test"])
    apart = test.thumbnail_difference(updater, redone)
    if apart > test.tolerance:
        raise VerificationFailed(f"the self-test's thumbnail differs by {apart} of 255")
    return IncrementalAgreement(updates, largest, from_full)


def _check_graph(
    path: Path,
    module: IncrementalModule,
    metadata: Mapping[str, str],
    weights: tuple[str, bytes] | None,
) -> None:
    """Operators, names, types, axes and metadata, as written in the file."""
    decoder = module.decoder.decoder
    trunk = (decoder.mid, decoder.up[-1])
    norms = sum(isinstance(part, nn.GroupNorm) for whole in trunk for part in whole.modules())
    model = check_operators(path, metadata["rowcast.opset"], norms, weights)
    side = module.decoder.shape.pixels_per_token
    state: list[tuple[str, list[str | int]]] = [("carried", ["batch", 2, module.carried_groups])]
    state += [
        (f"cache_{index}", ["batch", cache.channels, 1, f"{cache.pixels_per_token}*cols"])
        for index, cache in enumerate(module.caches)
    ]
    height = "lines" if side == 2 else f"{side // 2}*lines"
    check_interface(
        model,
        inputs=[
            ("ids", "INT64", ["batch", "rows", "cols"]),
            ("window", "INT64", ["lines"]),
            ("leaving", "INT64", [1]),
            *((name, "FLOAT", axes) for name, axes in state),
        ],
        outputs=[
            ("pixels", "FLOAT", ["batch", 3, height, f"{side}*cols"]),
            ("coarse", "FLOAT", ["batch", 3, "rows", "cols"]),
            *((f"{name}_next", "FLOAT", axes) for name, axes in state),
        ],
        metadata=metadata,
    )


def _difference(where: str, seen: Pixels, wanted: Pixels) -> float:
    """The largest one. Raises VerificationFailed."""
    if seen.shape != wanted.shape:
        raise VerificationFailed(f"{where}: shape: found {seen.shape}, wanted {wanted.shape}")
    if not (np.isfinite(seen).all() and np.isfinite(wanted).all()):
        raise VerificationFailed(f"{where}: NaN or infinity")
    largest = float(np.abs(seen - wanted).max())
    if largest > LARGEST_DIFFERENCE:
        raise VerificationFailed(
            f"{where}: values differ by {largest:.3g}, more than {LARGEST_DIFFERENCE}"
        )
    return largest
