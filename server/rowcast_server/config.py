"""Every setting of a server in one record, with its default and its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .placement import Placement


def usable_cores() -> int:
    """The cores that this process may use; where the system does not tell (macOS, Windows), all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class ServerConfig:
    """Settings of `rowcast serve`; times in seconds."""

    host: str = "127.0.0.1"
    port: int = 8765  # 0 takes a free one
    http_port: int = 8766
    public_url: str | None = None  # where clients reach the HTTP side; default: by the same host
    tokens: frozenset[str] = frozenset()  # empty: every client is admitted
    slots: int = 16  # pictures drawn at once on each device
    queue_limit: int = 256  # pictures that may wait
    placements: tuple[Placement, ...] = (Placement(),)  # an engine on each; of one variant
    draft_window: int = 1  # tokens guessed at once on the CPU where a picture is alone; 1: none
    threads: int = field(default_factory=usable_cores)
    prompt_bytes: int = 2_000
    images: int = 64  # of one start
    streams: int = 256  # open at once on one connection
    grace: float = 30.0  # a picture that nobody watches goes on this long
    keep: float = 300.0  # a finished picture can be watched this long
    deadline: float = 600.0  # a picture that takes longer is ended
    send_timeout: float = 20.0  # a viewer that does not read this long is cut
    ping_interval: float = 20.0
