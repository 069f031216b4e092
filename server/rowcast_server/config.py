"""Every setting of a server in one record, with its default and its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .network.cache_kind import CacheKind


def _default_threads() -> int:
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


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
    devices: tuple[str, ...] = ("cpu",)  # cuda, cuda:N, mps: an engine on each
    dtype: str = "float32"  # int8, bfloat16, float16: other logits, so another revision
    cache: CacheKind | None = None  # of ONNX Runtime's; None: what suits the dtype
    draft_window: int = 1  # tokens guessed at once on the CPU where a picture is alone; 1: none
    threads: int = field(default_factory=_default_threads)
    prompt_bytes: int = 2_000
    images: int = 64  # of one start
    streams: int = 256  # open at once on one connection
    grace: float = 30.0  # a picture that nobody watches goes on this long
    keep: float = 300.0  # a finished picture can be watched this long
    deadline: float = 600.0  # a picture that takes longer is ended
    send_timeout: float = 20.0  # a viewer that does not read this long is cut
    ping_interval: float = 20.0
