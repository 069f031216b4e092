"""The `rowcast` command, which finds its subcommands by entry points and imports none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version

from .errors import RowcastError
from .terminal.exit_codes import INTERRUPTED

GROUP = "rowcast.commands"
ORDER = ("demo", "serve", "generate", "replay", "grids", "export", "convert", "bench")

Command = Callable[[list[str]], int]


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; returns its exit code: 0, 1 for a failure told on stderr, 2 for usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    commands = {point.name: point for point in entry_points(group=GROUP)}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help(commands))
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        print(f"rowcast {version('rowcast')}")
        return 0
    if name not in commands:
        print(f"rowcast: no command {name!r}; see rowcast --help", file=sys.stderr)
        return 2
    try:
        command: Command = commands[name].load()
        return command(rest)
    except KeyboardInterrupt:
        print("\nrowcast: stopped", file=sys.stderr)
        return INTERRUPTED
    except ModuleNotFoundError as error:
        print(_missing(name, error), file=sys.stderr)
        return 1
    except OSError as error:
        cause = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"rowcast {name}: {cause}", file=sys.stderr)
        return 1
    except RowcastError as error:
        print(f"rowcast {name}: {error}", file=sys.stderr)
        return 1


def _help(commands: dict[str, EntryPoint]) -> str:
    lines = [
        "usage: rowcast COMMAND …        (rowcast COMMAND --help tells more)",
        "",
        "An image that forms under your eyes: sent as rows of tokens, painted here.",
        "",
    ]
    for name in sorted(commands, key=lambda n: (ORDER.index(n) if n in ORDER else 99, n)):
        lines.append(f"  {name:<10} {_summary(commands[name])}")
    lines += [
        "",
        "Try it:     rowcast demo 'a red house and two pine trees at sunset'",
        "Two ends:   rowcast serve",
        "            rowcast generate ws://127.0.0.1:8765 'a yellow balloon over the sea'",
    ]
    return "\n".join(lines)


def _summary(point: EntryPoint) -> str:
    try:
        return (point.load().__doc__ or "").strip().split("\n")[0]
    except ModuleNotFoundError as error:
        return _missing(point.name, error)


def _missing(name: str, error: ModuleNotFoundError) -> str:
    extra = {"demo": "server", "serve": "server", "export": "export"}.get(name, "server")
    return f"rowcast {name} needs {error.name}: pip install 'rowcast[{extra}]'"
