"""The two loops: atheris, which counts the branches that an input takes, and a plain one.

Both keep an input of which something new comes, and change it further. To atheris the outcome that
a check returns counts as a branch too: the decoders in C have none that it could see.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Final

from .mutation import below
from .progress import Progress
from .target import Target, target

MOST_KEPT: Final = 4_096  # inputs, and outcomes
MOST_MEMORY_BYTES: Final = 4 * 2**30
PACKAGES: Final = ["rowcast", "rowcast_server", "tests.fuzz.targets", "tests.document"]
FAULT: Final = 70  # the exit code of a process that found one
ENGINES: Final = ("atheris", "plain")


def plain(
    aim: Target,
    tell: Callable[[bytes], None],
    seed: int,
    runs: int = sys.maxsize,
    until: float = float("inf"),
) -> None:
    """Try seeds, then changes to what was kept, until so many were tried or `time.monotonic` says
    so. ``tell`` is called with each input before it is tried. Raises what a check raises."""
    random, kept, seen = Random(seed), list(aim.seeds()), set[str]()
    seeds = len(kept)
    for run in range(runs):
        if time.monotonic() > until:
            return
        if run < seeds:
            data = kept[run]
        else:
            data = aim.mutate(random, kept[below(random, len(kept))], kept)[: aim.max_bytes]
        tell(data)
        outcome = aim.check(data)
        if outcome not in seen and len(seen) < MOST_KEPT:
            seen.add(outcome)
            kept.append(data)


def by_atheris(
    name: str, tell: Callable[[bytes], None], seed: int, runs: int, until: float
) -> None:
    """As `plain`, by libFuzzer; the process ends with it."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        aim = target(name)
    random, seeds = Random(seed), aim.seeds()
    scope: dict[str, Any] = {}
    exec("".join(f"def mark{each}(): pass\n" for each in range(MOST_KEPT)), scope)
    marks = [atheris.instrument_func(scope[f"mark{each}"]) for each in range(MOST_KEPT)]

    def test_one_input(data: bytes) -> None:
        tell(data)
        try:
            marks[hash(aim.check(data)) % MOST_KEPT]()
        except BaseException:
            _end_with_a_fault()

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return aim.mutate(random, data, seeds)[:most]

    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds):
            (Path(folder) / str(number)).write_bytes(data)
        seconds = max(1, min(int(until - time.monotonic()), 10**6))
        options = {
            "runs": min(runs, 2**31 - 1), "max_total_time": seconds, "seed": seed + 1,
            "max_len": aim.max_bytes, "mutate_depth": 1, "use_cmp": 0, "len_control": 0,
            "verbosity": 0, "rss_limit_mb": 0,
        }  # fmt: skip
        words = [f"-{option}={value}" for option, value in options.items()]
        atheris.Setup(["fuzz", *words, folder], test_one_input, custom_mutator=mutate)
        atheris.Fuzz()


def _end_with_a_fault() -> None:
    """End the process at once, with the traceback: libFuzzer would write its own files."""
    sys.excepthook(*sys.exc_info())
    sys.stderr.flush()
    os._exit(FAULT)


def main(words: list[str]) -> None:
    """NAME PAGE ENGINE SEED RUNS SECONDS, in a process of its own."""
    name, page, engine, seed, runs, seconds = words
    progress, begun = Progress(Path(page)), time.process_time()
    tried = 0
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    warnings.simplefilter("error")

    def tell(data: bytes) -> None:
        nonlocal tried
        tried += 1
        progress.write(tried, time.process_time() - begun, data)

    until = time.monotonic() + float(seconds)
    if engine == "atheris":
        by_atheris(name, tell, int(seed), int(runs), until)
    try:
        plain(target(name), tell, int(seed), int(runs), until)
    except BaseException:
        _end_with_a_fault()


def has_atheris() -> bool:
    """True if atheris is installed: it has wheels for Linux alone."""
    return find_spec("atheris") is not None


if __name__ == "__main__":
    main(sys.argv[1:])
