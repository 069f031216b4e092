"""The command `rowcast serve`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rowcast.terminal.exit_codes import stop_at_eof

from .serve_options import parse, plain
from .serve_options import serve_parser as serve_parser  # for completion: the parser of `serve`

if TYPE_CHECKING:
    from .server import RowcastServer

Say = Callable[[str], None]


def serve(arguments: list[str]) -> int:
    """Serve a model: prompts in, rows of tokens out."""
    options, config = parse(arguments)  # a device that is not there is told before a download
    if options.stop_at_eof:
        threading.Thread(target=stop_at_eof, daemon=True).start()
    set_up_logs(logging.INFO if options.verbose else logging.WARNING, options.log_format)
    from .gateway.sockets import bind
    from .memory import with_caches_that_fit
    from .models.loading import load
    from .server import RowcastServer, access_for

    say = _say if not options.quiet else lambda line: None
    # What is wrong is told before a model is loaded, which may take minutes.
    with contextlib.closing(bind(config)) as sockets:
        access = access_for(config, sockets)
        say(f"loading {options.model} …")
        model = load(options.model, options.start_token)
        engines = None
        if config.cluster is not None:
            from .cluster.joining import joined

            engines = joined(config, model, options.model, options.start_token, say)
        elif options.cache is None:
            fitting = with_caches_that_fit(config.placements, model.decoder, config.slots)
            config = replace(config, placements=fitting)
        # Made here, so that Ctrl-C ends what may take minutes.
        server = RowcastServer(model, config, sockets=sockets, access=access, engines=engines)
        return asyncio.run(_serve(server, say))


def set_up_logs(level: int, form: str) -> None:
    """Log to stderr from ``level`` on: `text` for people, or `json`, an object a line."""
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    if form == "json":
        from pythonjsonlogger.json import JsonFormatter

        formatter = JsonFormatter(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
        )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def _serve(server: RowcastServer, say: Say) -> int:
    """Serve until a signal asks to stop; a second one does not wait for pictures."""
    stopped = asyncio.Event()

    def stop() -> None:
        if stopped.is_set():
            server.hurry()
        stopped.set()

    with _signals_to(asyncio.get_running_loop(), stop):
        server.on_lost(stop)
        await server.start()
        for line in server.summary:
            say(line)
        print(f"ready {server.ws_url} {server.http_url}", flush=True)
        await stopped.wait()
        if server.is_lost:
            _say("rowcast: the cluster is lost; its pictures are taken up where it is back")
        elif server.watched and server.config.drain:
            say(
                f"stopping: pictures have {plain(server.config.drain)} s to end; Ctrl-C again "
                "stops at once"
            )
        await server.close(0.0 if server.is_lost else server.config.drain)
    return int(server.is_lost)


@contextlib.contextmanager
def _signals_to(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call ``stop`` in the loop; the old handlers return afterwards.

    By the loop's own handlers, which wake it also where another thread gets the signal; Windows has
    none, and there any signal wakes the loop.
    """
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in numbers]
    for number in numbers:
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)
