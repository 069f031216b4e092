"""Every setting of a server in one record, with its default and its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .engine.runner import WINDOW
from .placement import Placement


def usable_cores() -> int:
    """The cores that this process may use; where the system does not tell (macOS, Windows), all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


OPENAI_PORT = 8766  # as of `rowcast openai`
MOST_SECONDS = 4_294_967  # `welcome` and `goaway` tell milliseconds of 32 bits
MOST = 1_000_000  # of connections, pictures and requests: more than one process can serve


def _option(
    default: Any,
    name: str,
    words: str,
    least: int = 0,
    most: int = 65_535,
    kind: type = str,
    bare: Any = None,
) -> Any:
    """A setting that is an option of `rowcast serve` too: its default or the function that makes
    it, the option with its help, the range of a number, what it is where it is None, and what the
    option stands for without a value (None: it needs one)."""
    about = {"option": name, "help": words, "range": (least, most), "kind": kind, "bare": bare}
    if callable(default):
        return field(default_factory=default, metadata=about)
    return field(default=default, metadata=about)


def _seconds(default: float, name: str, words: str, least: int = 0) -> Any:
    return _option(default, name, f"seconds that {words}", least, MOST_SECONDS)


def _most(default: int, name: str, words: str) -> Any:
    return _option(default, name, f"at most so many {words}", 1, MOST)


@dataclass(frozen=True)
class ServerConfig:
    """Settings of `rowcast serve`; times in seconds."""

    # Where it listens
    host: str = _option("127.0.0.1", "--host", "address to listen at; 0.0.0.0 is all of IPv4")
    port: int = _option(8765, "--port", "of WebSocket and HTTP; 0 is any")
    http_port: int | None = _option(
        None,
        "--http-port",
        "HTTP on a port of its own; 0 is any (default: both on --port)",
        kind=int,
    )
    unix: Path | None = _option(
        None, "--unix", "listen at a Unix socket of this path, not at a port", kind=Path
    )
    tls_cert: Path | None = _option(
        None, "--tls-cert", "speak TLS, by this chain of certificates (PEM)", kind=Path
    )
    tls_key: Path | None = _option(
        None, "--tls-key", "the certificate's key (default: in the same file)", kind=Path
    )
    openai_port: int | None = _option(
        None,
        "--openai",
        "serve OpenAI's image API too, to clients that cannot decode: at this port, by a process "
        f"of its own, `rowcast openai` (without a number {OPENAI_PORT}, 0 is any; default: not)",
        kind=int,
        bare=OPENAI_PORT,
    )
    public_url: str | None = _option(
        None,
        "--public-url",
        "where clients reach the HTTP side (default: where the WebSocket is)",
    )
    trusted_proxies: tuple[str, ...] = _option(
        (),
        "--trusted-proxy",
        "believe what this address or network says in X-Forwarded-For; may be given again",
    )
    # Who may come in
    tokens: frozenset[str] = field(default=frozenset(), repr=False)  # without a file
    token_file: Path | None = _option(
        None,
        "--token-file",
        "admit only clients with a token of this file, one a line (or $ROWCAST_TOKENS, separated "
        "by spaces); read again when it changes",
        kind=Path,
    )
    token_secret_file: Path | None = _option(
        None,
        "--token-secret-file",
        "admit who has a token signed with a secret of this file: see `rowcast token`",
        kind=Path,
    )
    open: bool = _option(False, "--open", "listen beyond this machine without asking for a token")
    private_files: bool = _option(
        False, "--private-files", "give detokenizer files only to whom a token admits"
    )
    no_page: bool = _option(False, "--no-page", "serve no page, only what clients need")
    allow_origins: tuple[str, ...] = _option(
        (),
        "--allow-origin",
        "pages from there may draw, as https://app.example.org, null, or * for all; may be given "
        "again (default: pages of this server)",
    )
    allow_hosts: tuple[str, ...] = _option(
        (),
        "--allow-host",
        "a name that clients know this server by, or * for any; may be given again (default: "
        "localhost, this machine's name, addresses)",
    )
    # What it draws on
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
    cluster: str | None = _option(
        None,
        "--cluster",
        "draw on the replicas of a Ray cluster: its address, as 10.0.0.5:6379, or local, which "
        "starts one in this machine; needs rowcast[ray] (default: draw in this process)",
    )
    replicas: int | None = _option(
        None,
        "--replicas",
        "engines of the cluster, each with --slots, --queue and --threads of its own (default: as "
        "many as it has, or 1)",
        1,
        10_000,
        kind=int,
    )
    replica_gpus: float = _option(0.0, "--replica-gpus", "GPUs of each replica, as 1 or 0.5", 0, 64)
    # What one client may take
    connections: int = _most(4_096, "--connections", "connections, a quarter of them HTTP")
    address_connections: int = _most(
        64, "--address-connections", "connections from one address (of IPv6: one /64)"
    )
    handshakes: int = _most(
        1_024, "--handshakes", "connections whose request is not read yet; then the oldest goes"
    )
    prompt_bytes: int = _option(
        2_000, "--prompt-bytes", "longest prompt, in bytes of UTF-8", 1, 1_048_576
    )
    images: int = _option(64, "--images", "at most so many pictures in one request", 1, 4_096)
    streams: int = _option(
        256, "--streams", "at most so many pictures open at once on one connection", 1, 65_536
    )
    client_pictures: int = _most(
        256, "--client-pictures", "pictures of one client drawn or waiting at once"
    )
    starts_per_minute: int = _most(240, "--starts-per-minute", "requests of one client a minute")
    messages_per_minute: int = _most(
        6_000, "--messages-per-minute", "messages on one connection a minute"
    )
    failures_per_minute: int = _most(
        60, "--failures-per-minute", "bad tokens and view keys from one address a minute"
    )
    # How long things take
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
    open_timeout: float = _seconds(
        5.0, "--open-timeout", "a connection has for its request, TLS included", 1
    )
    send_timeout: float = _seconds(
        20.0, "--send-timeout", "a client has to take a frame or a piece of a file", 1
    )
    ping_interval: float = _seconds(
        15.0, "--ping-interval", "pass between pings; unanswered for 3/5 of that, it is cut", 1
    )
    # What is told of it
    metrics_port: int | None = _option(
        None,
        "--metrics-port",
        "serve /metrics (Prometheus) there; 0 is any (default: nowhere)",
        kind=int,
    )
    metrics_host: str = _option("127.0.0.1", "--metrics-host", "address of --metrics-port")

    @property
    def is_local(self) -> bool:
        """True if only programs of this machine can connect."""
        return (
            self.unix is not None
            or self.host in ("localhost", "::1")
            or self.host.startswith("127.")
        )
