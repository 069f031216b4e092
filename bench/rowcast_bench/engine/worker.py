"""An object that lives in a process of its own, so that sides share neither memory nor threads."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Self

from rowcast.errors import RowcastError


class Worker:
    """Makes ``factory(*arguments)`` in a new process; `call` calls its methods, one at a time.

    ``factory`` must be importable there. Raises RowcastError with what went wrong in the process.
    """

    def __init__(self, factory: Callable[..., object], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, factory, arguments), daemon=True
        )
        self._process.start()
        theirs.close()
        self._answer()

    def call(self, method: str, *arguments: object) -> Any:
        """The result of a method. Raises RowcastError with what went wrong there."""
        self._pipe.send((method, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            failure, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise RowcastError(f"a benchmark's process ended with exit code {code}") from None
        if failure is not None:
            raise RowcastError(failure)
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def run_apart(function: Callable[..., object], *arguments: object) -> Any:
    """The result of a function that is called in a new process, as of a method of `Worker`."""
    with Worker(partial, function, *arguments) as worker:
        return worker.call("__call__")


def _serve(pipe: Connection, factory: Callable[..., object], arguments: tuple[object, ...]) -> None:
    try:
        made = factory(*arguments)
        pipe.send((None, None))
        while True:
            method, parameters = pipe.recv()
            pipe.send((None, getattr(made, method)(*parameters)))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception as error:
        pipe.send((f"{type(error).__name__}: {error}", None))
