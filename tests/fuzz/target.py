"""What is fuzzed, by name: a check that takes an input, seeds, and how they are changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import Final

Check = Callable[[bytes], str]
# A source of chance, the input, and others to take parts from -> the next input.
Mutate = Callable[[Random, bytes, Sequence[bytes]], bytes]

# The module of each target below this package. One that is run for coverage is imported only once
# the hook that counts branches is there.
MODULES: Final = {
    "decode_client": "targets.frames",
    "decode_server": "targets.frames",
    "agreement": "targets.frames",
    "rows_file": "targets.rows_file",
    "request_head": "targets.request_head",
    "visitors": "targets.visitors",
    "tokens": "targets.tokens",
    "palette": "targets.palette",
    "metadata": "targets.metadata",
    "share_link": "targets.share_link",
    "server_session": "machines.server_session",
    "client_session": "machines.client_session",
    "both_sessions": "machines.both_sessions",
}
NAMES: Final = tuple(MODULES)
NUMBER: Final = re.compile(r"\d+")


@dataclass(frozen=True)
class Target:
    """``check`` returns what came of an input, in a word or two: an input of which something new
    comes is kept, and changed further. Whatever it raises is a fault.

    ``seconds`` is the longest that an input may take. Where ``engine`` is plain, what is checked is
    written in C or is a state machine: atheris sees no more of it, and is slower.
    """

    check: Check
    seeds: Callable[[], list[bytes]]
    mutate: Mutate
    max_bytes: int = 4_096
    seconds: float = 10.0
    engine: str = "atheris"


def told(error: Exception) -> str:
    """An error as an outcome: which one it is, and not of which number."""
    return NUMBER.sub("0", str(error))[:100]


def target(name: str) -> Target:
    """A target of NAMES, or `MODULE:NAME` of another. Raises LookupError."""
    module, _, name = name.rpartition(":")
    found: Target = import_module(module or f"tests.fuzz.{MODULES[name]}").TARGETS[name]
    return found
