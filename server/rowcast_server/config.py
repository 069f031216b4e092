"""Every setting of a server in one record, with its default and its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from .engine.runner import WINDOW
from .placement import Placement


def usable_cores() -> int:
    """The cores that this process may use; where the system does not tell (macOS, Windows), all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


MOST_SECONDS = 4_294_967  # `welcome` and `goaway` tell milliseconds of 32 bits


def _option(default: Any, name: str, words: str, least: int = 0, most: int = 65_535) -> Any:
    """A setting that is an option of `rowcast serve` too: its default or the function that makes
    it, the option with its help, and the range of a number."""
    metadata = {"option": name, "help": words, "range": (least, most)}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _seconds(default: float, name: str, words: str, least: int = 0) -> Any:
    return _option(default, name, f"seconds that {words}", least, MOST_SECONDS)


@dataclass(frozen=True)
class ServerConfig:
    """Settings of `rowcast serve`; times in seconds."""

    host: str = _option("127.0.0.1", "--host", "address to listen at")
    port: int = _option(8765, "--port", "WebSocket; 0 is any")
    http_port: int = _option(8766, "--http-port", "0 is any")
    public_url: str | None = _option(
        None,
        "--public-url",
        "where clients reach the HTTP side (default: the host they came by, and --http-port)",
    )
    tokens: frozenset[str] = field(default=frozenset(), repr=False)  # empty: all are admitted
    slots: int = _option(16, "--slots", "pictures at once, on each device", 1)
    queue_limit: int = _option(256, "--queue", "pictures that may wait, on each device")
    placements: tuple[Placement, ...] = (Placement(),)  # an engine on each; of one variant
    draft_window: int = _option(
        1,
        "--draft-window",
        "speculative (Jacobi) decoding on the CPU, of a picture that is alone: guess so many "
        f"tokens at once (2 to {WINDOW}); the same picture, sooner where guesses are often right "
        "(default: 1, no guessing)",
        least=1,
        most=WINDOW,
    )
    threads: int = _option(usable_cores, "--threads", "at most, and by default: all cores", 1)
    prompt_bytes: int = 2_000
    images: int = 64  # of one start
    streams: int = 256  # open at once on one connection
    deadline: float = _seconds(
        600.0, "--deadline", "a picture may be drawn for, its wait in the queue not counted", 1
    )
    grace: float = _seconds(
        30.0, "--grace", "a picture that nobody watches goes on: the time to come back"
    )
    keep: float = _seconds(300.0, "--keep", "a picture that has ended can still be watched")
    drain: float = _seconds(
        10.0, "--drain", "pictures have to end in once the server is to stop; a second Ctrl-C: none"
    )
    send_timeout: float = 20.0  # a viewer that does not read this long is cut
    ping_interval: float = 20.0
