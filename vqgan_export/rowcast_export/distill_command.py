"""The options of ``rowcast export --distill``, and the training that they ask for.

Torch is imported only after the command line has been understood. This module must not know how
files are written.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .distill.grids import read_grids
from .distill.schedule import DistillOptions
from .errors import DistillError
from .settings import (
    PRECISIONS,
    Settings,
    parse_count,
    parse_positive,
    parse_precisions,
    reading,
)

if TYPE_CHECKING:
    from .export import Taught
    from .formats import Checkpoint
    from .progress import Progress

DEFAULTS: Final = DistillOptions()
TRAINING: Final[dict[str, tuple[str, Callable[[str], object], str]]] = {
    "steps": ("N", parse_count, "steps of training; given more later, a training goes on"),
    "minutes": ("M", parse_positive, "minutes of training, if they end before the steps do"),
    "batch": ("N", parse_count, "grids a step"),
    "learning_rate": ("R", parse_positive, "learning rate at its highest"),
    "device": ("DEVICE", str, "where to train: cpu, cuda, cuda:1, mps"),
}
EXAMPLES: Final = """\
  rowcast grids ws://127.0.0.1:8765 --prompts prompts.txt --out grids.npz
  rowcast export postcard -o models/postcard --distill grids.npz --minutes 30
      also DIR/preview.onnx: a small decoder that is taught on grids the model drew to paint
      what the full one paints; Ctrl-C saves, and the same command goes on"""


def add_distill_options(parser: argparse.ArgumentParser) -> None:
    """The options of the training, in a group of their own."""
    group = parser.add_argument_group(
        "a small decoder for previews",
        "Taught without any image data: grids that the model drew, and the full decoder's pictures "
        "of them. 2000 grids and 30 minutes of two cores do for postcard; a decoder of 16,384 "
        "codes and 256x256 pixels wants a GPU.",
    )
    group.add_argument(
        "--distill",
        metavar="GRIDS",
        type=Path,
        help="teach one on the grids of this file, which `rowcast grids` wrote",
    )
    group.add_argument(
        "--run",
        metavar="DIR",
        type=Path,
        help="folder of the training: its checkpoint and the full decoder's pictures, which take "
        "about 3 bytes a pixel of each grid (default: the output's name with .distill)",
    )
    group.add_argument(
        "--preview-precision",
        metavar="P,...",
        type=reading(parse_precisions),
        help=f"any of {', '.join(PRECISIONS)} (default: those of --precision)",
    )
    group.add_argument(
        "--preview-only",
        action="store_true",
        help="write the preview and the palette alone, beside what was exported before",
    )
    for name, (metavar, parse, text) in TRAINING.items():
        default = getattr(DEFAULTS, name)
        told = "no limit" if default == math.inf else default
        group.add_argument(
            f"--{name.replace('_', '-')}",
            metavar=metavar,
            type=reading(parse),
            default=default,
            help=f"{text} (default: {told})",
        )


def check_distill_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with a usage error where one of them is given without --distill."""
    for name in ("run", "preview_precision", "preview_only", *TRAINING):
        if options.distill is None and getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} goes with --distill")


@dataclass(frozen=True)
class Teaching:
    """The training that a command line asks for, kept in the folder ``run``."""

    grids: Path
    run: Path
    precisions: tuple[str, ...]  # of the small decoder's files
    options: DistillOptions


def read_teaching(options: argparse.Namespace) -> Teaching | None:
    """The training; None without --distill."""
    if options.distill is None:
        return None
    output: Path = options.output.resolve()
    return Teaching(
        options.distill,
        options.run or output.with_name(f"{output.name}.distill"),
        options.preview_precision or options.precision,
        DistillOptions(**{name: getattr(options, name) for name in TRAINING}),
    )


def teach(
    checkpoint: Checkpoint, settings: Settings, teaching: Teaching, on_progress: Progress
) -> Taught:
    """Train, or resume training, a small decoder and a palette.

    Raises GridsError, DistillError, CheckpointError, OSError or KeyboardInterrupt.
    """
    import torch

    from .building import build
    from .distill.training import Distillation
    from .export import Taught
    from .palette import make_palette

    device = teaching.options.device
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch is built without it
        reason = str(error).partition("\n")[0]
        raise DistillError(
            f"--device {device} cannot be used ({reason}); choose another"
        ) from error
    module = build(checkpoint, settings)
    grids = read_grids(teaching.grids, module.shape.codebook_size)
    distillation = Distillation(module, grids, teaching.run, checkpoint.sha256, teaching.options)
    imitation = distillation.run(on_progress)
    on_progress("mixing the palette", 0, 0)
    plane, _ = make_palette(module)
    palette, palette_imitation = distillation.teach_palette(plane)
    return Taught(distillation.preview, imitation, palette, palette_imitation, teaching.precisions)
