"""`python -m tests.soak`: breaks what can break for minutes, and holds figures against bars."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from .scenario import NAMES, Figures, say, scenario


def main(arguments: list[str]) -> int:
    """Run scenarios; returns 1 if a figure misses its bar."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="each scenario in small")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in NAMES:
            parser.error(f"there is no scenario {name!r}; there are {', '.join(NAMES)}")
    logging.getLogger("rowcast").setLevel(logging.ERROR)  # links break: that is the point
    found = {name: run(name, options.quick) for name in options.names or NAMES}
    for name, figures in found.items():
        show(name, figures)
    if options.json is not None:
        told = {name: asdict(figures) for name, figures in found.items()}
        options.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 0 if all(figures.passes for figures in found.values()) else 1


def run(name: str, quick: bool) -> Figures:
    """The figures of a scenario. One that breaks has failed, and the next begins."""
    module, begun = scenario(name), time.monotonic()
    say(f"{name}: {(module.__doc__ or '').splitlines()[0]}")
    try:
        figures = module.run(quick)
    except Exception:
        traceback.print_exc()
        figures = Figures()
        figures.add("errors that ended the scenario", 1, most=0)
    figures.add("whole time", time.monotonic() - begun, "s")
    return figures


def show(name: str, figures: Figures) -> None:
    """A line a figure: what it is, its value, its bar, and `FAILS` where it misses that."""
    if figures.not_run:
        print(f"{name:<14}not run: {figures.not_run}")
    for figure in figures.figures:
        value = f"{figure.value:,.3f}".rstrip("0").rstrip(".") + f" {figure.unit}".rstrip()
        fails = "" if figure.passes else "FAILS"
        print(f"{name:<14}{figure.what:<52}{value:>14}  {figure.bar:<14}{fails}".rstrip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
