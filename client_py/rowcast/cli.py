"""The `rowcast` command, which finds its subcommands by entry points and imports none.

A subcommand is a function of the words after its name that returns its exit code. Beside it in its
module stands a function that makes its parser, ``<name>_parser``, for the completion of shells.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version

from .terminal.exit_codes import (
    DONE,
    FAILED,
    INTERRUPTED,
    USAGE,
    failure,
    raising_terminated,
)
from .terminal.install_hints import command_name, extra_of, install_hint
from .terminal.parsers import WrongUsage, wants_json
from .terminal.text import answer, answer_json, complain

GROUP = "rowcast.commands"
ORDER = (
    *("demo", "serve", "generate", "watch", "replay", "grids", "models", "ps", "openai"),
    *("prepare", "export", "convert", "bench", "token", "doctor", "cache", "completion"),
)
# Commands whose extra is named whatever of it is missing.
OF_EXTRAS = {"export": "export", "bench": "bench", "openai": "openai"}
OWN_SIGNALS = ("serve",)  # it drains

Command = Callable[[list[str]], int]


def main(arguments: list[str] | None = None, ready: Callable[[], object] = lambda: None) -> int:
    """Run a subcommand; returns its exit code (terminal/exit_codes.py), or raises SystemExit.

    With ``--json`` among the words the last line of stdout is JSON however it ends. ``ready`` is
    called once the subcommand is loaded and about to begin.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    commands = {point.name: point for point in entry_points(group=GROUP)}
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name in ("", "-h", "--help"):
        for line in _help(commands):
            answer(line)
        return DONE if name else USAGE
    if name == "--version":
        answer(f"rowcast {version('rowcast')}")
        return DONE
    if name not in commands:
        return _tell(USAGE, "rowcast", f"no command {name!r}; see rowcast --help", arguments)
    try:
        command: Command = commands[name].load()
        ready()
        with contextlib.nullcontext() if name in OWN_SIGNALS else raising_terminated():
            return command(rest)
    except SystemExit as leaving:
        if isinstance(leaving, WrongUsage) and wants_json(rest):
            answer_json({"error": leaving.problem})  # people were told by the parser
        raise
    except BaseException as error:
        try:
            code, problem = failure(error)
        except ModuleNotFoundError as missing:
            code, problem = FAILED, _missing(name, missing)
        except BaseException:  # a fault of ours, with its traceback
            if wants_json(rest):
                answer_json({"error": repr(error)})
            raise
        return _tell(code, "rowcast" if code == INTERRUPTED else f"rowcast {name}", problem, rest)


def _tell(code: int, who: str, problem: str, words: list[str]) -> int:
    """Tell people, and programs where they asked for it; returns the exit code."""
    if code == INTERRUPTED:
        complain("")  # below the ^C of the terminal
    complain(f"{who}: {problem}")
    if wants_json(words):
        answer_json({"error": problem})
    return code


def _help(commands: dict[str, EntryPoint]) -> list[str]:
    lines = [
        "usage: rowcast COMMAND …        (rowcast COMMAND --help tells more; rowcast --version)",
        "",
        "An image that forms under your eyes: sent as rows of tokens, painted here.",
        "",
    ]
    told = {name: _summary(point) for name, point in commands.items()}
    lacks_server = told["serve"].startswith("needs ")
    if lacks_server:
        told["demo"] = told["serve"]
    for name in sorted(told, key=lambda n: (ORDER.index(n) if n in ORDER else 99, n)):
        lines.append(f"  {name:<10} {told[name]}")
    called, prompt = command_name(), "'a yellow balloon over the sea'"
    if lacks_server:
        return [*lines, "", f"Try it:     {called} generate ws://host:port {prompt}"]
    return [
        *lines,
        "",
        f"Try it:     {called} demo 'a white house in the snow, three pine trees'",
        f"Two ends:   {called} serve",
        f"            {called} generate {prompt}",
    ]


def _summary(point: EntryPoint) -> str:
    try:
        return (point.load().__doc__ or "").strip().split("\n")[0]
    except ModuleNotFoundError as error:
        return _missing(point.name, error)


def _missing(name: str, error: ModuleNotFoundError) -> str:
    module = error.name or str(error)
    return f"needs {module}: {install_hint(OF_EXTRAS.get(name) or extra_of(module))}"
