"""`python -m tests.fuzz`: what others may send, changed at random; nothing unexpected may come.

Each target runs in its own process. An input that raises what it may not, takes longer than its
time, or ends the process is a fault: it is written to a file, and the command that repeats it is
told.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from .engines import ENGINES, has_atheris
from .progress import Progress
from .target import NAMES, target

BEGIN_SECONDS: Final = 180.0  # to import what is fuzzed
FOLDER: Final = Path("fuzz-faults")
ROOT: Final = Path(__file__).parents[2]


@dataclass
class Report:
    """What became of a target; ``fault`` is the file of the input, ``told`` how it went wrong."""

    target: str
    engine: str
    runs: int
    seconds: float
    cpu_seconds: float
    crashes: int = 0
    hangs: int = 0
    fault: str | None = None
    told: str = ""

    def __str__(self) -> str:
        rate = self.runs / self.cpu_seconds if self.cpu_seconds else 0.0
        return (
            f"{self.target:<15}{self.engine:<9}{self.runs:>11,} runs {self.seconds:>7.1f} s "
            f"{rate:>9,.0f} per CPU second  crashes {self.crashes}  hangs {self.hangs}"
        )


def fuzz(name: str, engine: str | None, seed: int, runs: int, seconds: float) -> Report:
    """Run a target for so many inputs or seconds, whichever ends first, or to its first fault."""
    aim = target(name)
    engine = engine or (aim.engine if has_atheris() else "plain")
    with tempfile.TemporaryDirectory() as folder:
        progress = Progress(Path(folder) / "page")
        words = (name, Path(folder) / "page", engine, seed, runs, seconds)
        begun = time.monotonic()
        with (Path(folder) / "errors").open("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.engines", *map(str, words)],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=ROOT,
            )
            try:
                hangs = _watch(process, progress, aim.seconds)
            finally:
                process.kill()
                process.wait()
            errors.seek(0)
            told = errors.read()
        report = Report(
            name, engine, progress.runs,
            time.monotonic() - begun, progress.cpu_seconds, hangs=int(hangs),
        )  # fmt: skip
        report.crashes = int(not hangs and process.returncode != 0)
        if hangs:
            report.told = f"the input took longer than {aim.seconds:g} s"
        elif report.crashes:
            report.told = told[-4_000:].strip() or f"the process ended with {process.returncode}"
        if hangs or report.crashes:
            report.fault = str(_written(name, progress.data))
        return report


def _watch(process: subprocess.Popen[bytes], progress: Progress, most: float) -> bool:
    """Wait for the end; True if an input takes longer than ``most`` seconds."""
    runs, since = 0, time.monotonic()
    while process.poll() is None:
        time.sleep(0.05)
        if progress.runs != runs:
            runs, since = progress.runs, time.monotonic()
        if time.monotonic() - since > (most if runs else BEGIN_SECONDS):
            return True
    return False


def _written(name: str, data: bytes) -> Path:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name.rpartition(':')[2]}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def show(report: Report) -> None:
    print(report, flush=True)
    if report.fault is not None:
        print(report.told)
        command = [sys.executable, "-m", "tests.fuzz", report.target, "--input", report.fault]
        print(
            f"the input is in {report.fault}; repeat it with\n  {shlex.join(command)}", flush=True
        )


def main(arguments: list[str]) -> int:
    """Fuzz targets; returns 1 if a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target (1)")
    parser.add_argument("--runs", type=int, default=2**31 - 1, help="inputs at most of each target")
    parser.add_argument(
        "--seed", type=int, default=None, help="of chance; the default is another each time"
    )
    parser.add_argument(
        "--engine", choices=ENGINES, help="the default is atheris, where it is there and better"
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help="try this input alone, here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in NAMES and ":" not in name:
            parser.error(f"there is no target {name!r}; there are {', '.join(NAMES)}")
    if options.input is not None:
        if len(options.names) != 1:
            parser.error("--input wants one target, whose input it is")
        print(target(options.names[0]).check(options.input.read_bytes()))
        return 0
    reports = []
    for name in options.names or NAMES:
        seed = int.from_bytes(os.urandom(3)) if options.seed is None else options.seed
        reports.append(fuzz(name, options.engine, seed, options.runs, options.minutes * 60))
        show(reports[-1])
    if options.json is not None:
        told = [asdict(report) for report in reports]
        options.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return int(any(report.fault for report in reports))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
