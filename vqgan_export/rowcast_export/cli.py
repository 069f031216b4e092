"""The command ``rowcast export``: a checkpoint in, verified files and a manifest out.

Torch and onnx are imported only after the command line has been understood, so that ``--help`` is
instant and a missing extra gets a sentence instead of a traceback.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .distill_command import (
    EXAMPLES,
    Teaching,
    add_distill_options,
    check_distill_options,
    read_teaching,
    teach,
)
from .errors import ExportError, TooCoarse, VerificationFailed
from .reporting import progress_bar, report
from .settings import (
    OPSETS,
    OPTIONS,
    PRECISIONS,
    Settings,
    assumed,
    parse_count,
    parse_epsilon,
    parse_precisions,
    parse_range,
    reading,
    settle,
)

if TYPE_CHECKING:
    from .formats import Checkpoint
    from .manifest import Exported

POSTCARD: Final = "postcard"
INTERRUPTED: Final = 130

DESCRIPTION: Final = """\
Turn the decoder of a VQGAN checkpoint into the files with which clients turn token ids
into pixels: detokenizer.onnx, its smaller kin, palette.npy and manifest.json.

Each file is compared with torch, picture by picture, before it gets its name: if anything
disagrees, nothing is written. Exporting the same checkpoint again gives the same bytes."""

EPILOG: Final = f"""\
SOURCE is recognised by its content:
  min-dalle's detoker.pt, taming's .ckpt, dalle-mini's flax_model.msgpack,
  LlamaGen's and Janus' VQ, each also as safetensors, whole or sharded (its ….index.json);
  the folder of a diffusers VQModel or of a Janus of transformers

examples:
  rowcast export postcard -o models/postcard
      the small model that ships with the server
  rowcast export pretrained/vqgan/detoker.pt -o models/mini --name mini
      a checkpoint of your own; -o DIR receives DIR/detokenizer.onnx and the others
  rowcast export vq_ds16_c2i.pt -o models/llamagen --precision fp32,fp16,int8
      also DIR/detokenizer.fp16.onnx and DIR/detokenizer.int8.onnx
{EXAMPLES}

Needs the extra `export`."""


def export(arguments: list[str]) -> int:
    """Turn a VQGAN's decoder into verified ONNX files.

    Takes the words after ``rowcast export``; returns 0 when done, 130 after Ctrl-C. Raises
    RowcastError or ModuleNotFoundError, having written nothing, and SystemExit as argparse does.
    """
    parser = export_parser()
    options = parser.parse_args(_with_negative_ranges(arguments))
    check_distill_options(parser, options)
    teaching = read_teaching(options)
    try:
        exported, assumptions = _run(options, teaching)
    except KeyboardInterrupt:
        print("rowcast export: stopped; nothing was written", file=sys.stderr)
        if teaching is not None:
            kept = f"the training is kept in {teaching.run}: the same command goes on"
            print(kept, file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise ExportError(f"{place}{error.strerror or error}; nothing was written") from error
    except TooCoarse as error:
        advice = "; --force writes it all the same" if "int8" in options.precision else ""
        raise ExportError(f"{error}, so nothing was written{advice}") from error
    except VerificationFailed as error:
        raise ExportError(
            "the exported file does not do what torch does, so nothing was written: "
            f"{error}; please report it"
        ) from error
    report(exported, assumptions)
    return 0


def _run(options: argparse.Namespace, teaching: Teaching | None) -> tuple[list[Exported], str]:
    """Read the checkpoint, export it: the files, and what was assumed.

    Raises RowcastError, ImportError or OSError.
    """
    import torch

    from . import formats
    from .export import export_detokenizer

    threads = min(options.threads, os.cpu_count() or 1)  # more would only wait
    if threads:
        torch.set_num_threads(threads)
    source = _find_postcard() if options.source == POSTCARD else Path(options.source)
    if not os.path.lexists(source):
        raise ExportError(
            f"{options.source}: No such file or folder; name a checkpoint on this machine, or the "
            f"word {POSTCARD}"
        )
    default_name = POSTCARD if options.source == POSTCARD else name_of(source)
    checkpoint = formats.read_detokenizer(source)
    family = checkpoint.family
    settings = settle(
        checkpoint.metadata,
        Settings(default_name, family.group_norm_epsilon, family.value_range),
        name=options.name,
        group_norm_epsilon=options.group_norm_epsilon,
        value_range=options.value_range,
    )
    with progress_bar() as show:
        taught = None
        if teaching is not None:
            taught = teach(checkpoint, settings, teaching, show)
        exported = export_detokenizer(
            checkpoint,
            options.output,
            settings,
            opset=options.opset,
            threads=threads,
            on_progress=show,
            precisions=() if options.preview_only else options.precision,
            force=options.force,
            taught=taught,
        )
    return exported, _assumptions(checkpoint, settings, options)


def _with_negative_ranges(words: Sequence[str]) -> list[str]:
    """Join ``--value-range -1..1`` to one word: argparse takes the second for an option."""
    joined: list[str] = []
    for word in words:
        if re.match(r"-[\d.]", word) and joined and joined[-1] == "--value-range":
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def name_of(source: Path) -> str:
    """The name of a file without its ending, or of a folder; a link keeps its own."""
    name = os.path.basename(os.path.abspath(source))
    return name if source.is_dir() else Path(name.removesuffix(".index.json")).stem


def _assumptions(checkpoint: Checkpoint, settings: Settings, options: argparse.Namespace) -> str:
    """What was not read from the checkpoint, in words; empty if all was."""
    given = [key for key in OPTIONS if getattr(options, key) is not None]
    words = assumed(checkpoint.metadata, settings, given)
    if checkpoint.family.unit_codes:
        words = ", ".join(["codes scaled to length 1", *filter(None, [words])])
    return words and f"{words} (as in {checkpoint.family.name}; the file does not say)"


def _find_postcard() -> Path:
    """Path of the embedded model's checkpoint inside the server package, which is not imported."""
    spec = importlib.util.find_spec("rowcast_server")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        from rowcast.terminal.install_hints import install_hint

        raise ExportError(
            "the embedded model comes with the server, which is not installed; "
            f"run: {install_hint('server')}, or name a checkpoint file"
        )
    path = Path(places[0], "models", POSTCARD, "detokenizer.safetensors")
    if not path.is_file():
        raise ExportError(
            f"the embedded model's decoder is missing: {path}; install rowcast anew, "
            "or name a checkpoint file"
        )
    return path


def export_parser() -> argparse.ArgumentParser:
    """The options of `rowcast export`."""
    parser = argparse.ArgumentParser(
        prog="rowcast export",
        allow_abbrev=False,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=f"a checkpoint file or folder, or the word {POSTCARD} for the embedded model "
        f"(a file of that name: ./{POSTCARD})",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="folder for the files"
    )
    parser.add_argument(
        "--precision",
        metavar="P,...",
        type=reading(parse_precisions),
        default=PRECISIONS[:1],
        help=f"any of {', '.join(PRECISIONS)} (default: {PRECISIONS[0]}); fp16 is half the "
        "download, int8 a quarter",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write int8 even if its pictures are coarser than 35 dB",
    )
    parser.add_argument(
        "--name", help="name of the model (default: what the checkpoint says, else its file name)"
    )
    parser.add_argument(
        "--opset",
        type=int,
        choices=OPSETS,
        default=OPSETS[0],
        help=f"version of the ONNX operators (default: {OPSETS[0]})",
    )
    parser.add_argument(
        "--group-norm-epsilon",
        metavar="E",
        type=reading(parse_epsilon),
        help="where the checkpoint does not say it (default: that of its family)",
    )
    parser.add_argument(
        "--value-range",
        metavar="BLACK..WHITE",
        type=reading(parse_range),
        help="what the network calls black and white, where the checkpoint does not say it "
        "(default: that of its family)",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=reading(parse_count),
        default=0,
        help="CPU threads (default: all cores)",
    )
    add_distill_options(parser)
    return parser
