"""Targets of `tests.fuzz` with faults: one raises, one hangs, one ends its process."""

from __future__ import annotations

import os
import signal
from typing import Final

from tests.fuzz.mutation import blind
from tests.fuzz.target import Check, Target


def _fails(data: bytes) -> str:
    if len(data) > 3:
        raise ValueError("more than three bytes")
    return str(len(data))


def _hangs(data: bytes) -> str:
    while len(data) > 3:
        pass
    return str(len(data))


def _ends(data: bytes) -> str:
    if len(data) > 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return str(len(data))


def _target(check: Check) -> Target:
    return Target(check, lambda: [b"x"], blind, seconds=1.5)


TARGETS: Final = {"fails": _target(_fails), "hangs": _target(_hangs), "ends": _target(_ends)}
