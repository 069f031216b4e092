"""The command `rowcast prepare`: its options, and the stages that they ask for."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..terminal.parsers import CommandParser, command_parser, minutes
from .preparation import GRIDS, STAGES, STEPS, Preparation, PrepareOptions

DESCRIPTION: Final = f"""\
Make a model folder that serves light clients, of any checkpoint, in one command:
{chr(10).join(f"  {number}. {text}" for number, text in enumerate(STAGES.values(), 1))}

Every file appears whole or not at all. Whatever ends it (Ctrl-C, a full disk, a kill): the same
command goes on from there. What it works with is kept in the output's name with .prepare, which
may be removed when all is done; with it, more --grids, --steps or --minutes go on later."""


def prepare(words: list[str]) -> int:
    """Make a model folder that serves light clients, of any checkpoint."""
    return Preparation(prepare_parser().parse_anywhere(words, PrepareOptions())).run()


def prepare_parser() -> CommandParser:
    """The options of `rowcast prepare`."""
    parser = command_parser(
        "prepare",
        DESCRIPTION,
        "pretrained/dalle_bart_mini -o models/mini",
        "mega -o models/mega --prompts prompts.txt --device cuda",
        "flax-checkpoint -o models/own --detokenizer vqgan/flax_model.msgpack --minutes 60",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="what `rowcast convert` takes: a model by its name (postcard, mini, mega), or its "
        "folder",
    )
    parser.add_argument(
        "-o", "--output", metavar="MODEL", type=Path, required=True, help="a folder not there yet"
    )
    parser.add_argument(
        "--detokenizer",
        metavar="PATH",
        type=Path,
        help="checkpoint of the VQGAN's decoder, as `rowcast export` takes it (default: that in "
        "SOURCE)",
    )
    parser.add_argument(
        "--precision",
        metavar="P,...",
        type=_precisions,
        default="fp32,fp16,int8",
        help="of the full decoder's files, fp32 among them (default: fp32,fp16,int8); int8 is "
        "refused where its pictures are coarser than 35 dB",
    )
    parser.add_argument(
        "--prompts",
        dest="prompts_file",
        metavar="FILE",
        type=Path,
        help="what the model is to draw: prompts, one a line, better as its users write them "
        "(default: the model's own examples, then a list that comes with Rowcast)",
    )
    parser.add_argument(
        "--grids",
        metavar="N",
        type=_at_least(8),
        default=GRIDS,
        help=f"pictures to draw and to learn from (default: {GRIDS}); of one prompt several where "
        "there are fewer prompts",
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        type=_at_least(1),
        default=STEPS,
        help=f"steps of teaching (default: {STEPS})",
    )
    parser.add_argument(
        "--minutes",
        metavar="M",
        type=minutes,
        default=math.inf,
        help="time for drawing (two fifths of it) and teaching, if they are not done before "
        "(default: no limit); at least 8 grids are drawn, and all that are drawn are decoded once",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the pictures (default: 0)"
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=_at_least(1),
        help="CPU threads of exporting and teaching (default: all cores)",
    )
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        default="cpu",
        help="where to teach: cpu (default), cuda, cuda:1, mps; drawing takes a GPU by itself",
    )
    return parser


def _at_least(lowest: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"a whole number, at least {lowest}, not {text!r}")
        return int(text)

    return whole


def _precisions(text: str) -> str:
    if "fp32" not in text.split(","):
        raise argparse.ArgumentTypeError(f"fp32 must be among them: fp32,{text}")
    return text
