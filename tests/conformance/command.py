"""Arguments, and what is printed."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from . import scripts
from .play import ADVISED, FAILED, NOT_APPLICABLE, PASSED, PATIENCE_SECONDS, Result
from .run import Settings, run_client, run_server, stopper
from .scripts import DOCUMENT, VECTORS, Exchange
from .values import Failed

OUTCOMES: Final = (PASSED, FAILED, ADVISED, NOT_APPLICABLE)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = argparse.ArgumentParser(
        prog="conformance", description="exchanges of rowcast.v1 with a server or a client"
    )
    made.add_argument("side", choices=scripts.SIDES, nargs="?", help="what is under test")
    made.add_argument("url", nargs="?", help="of a server's WebSocket")
    made.add_argument("--adapter", metavar="COMMAND", help="of a client, or of a server (README)")
    made.add_argument("--only", nargs="+", default=[], metavar="WORD", help="of a name; or a rule")
    made.add_argument("--list", action="store_true", help="the exchanges, and no more")
    made.add_argument("--rules", action="store_true", help="what shows each rule, and no more")
    made.add_argument("--json", action="store_true", help="a line of JSON for each exchange")
    made.add_argument("--quiet", action="store_true", help="only what did not pass, and the sum")
    made.add_argument("--token", help="that the server admits (default: it asks for none)")
    made.add_argument("--prompt", help="that the server can draw (default: its first example)")
    made.add_argument("--unreadable", metavar="TEXT", help="of which its model can read nothing")
    made.add_argument("--stop", metavar="COMMAND", help="that tells the server to stop")
    made.add_argument("--crowd", type=int, default=24, help="pictures at once, to fill a queue")
    made.add_argument("--jobs", type=int, default=0, help="exchanges at once (README)")
    made.add_argument(
        "--common-library",
        action="store_true",
        help="leave out what asks for more than a MessagePack library for general use gives",
    )
    made.add_argument(
        "--page", action="store_true", help="the client's WebSocket is a browser's (README)"
    )
    made.add_argument("--patience", type=float, default=PATIENCE_SECONDS, metavar="SECONDS")
    made.add_argument("--document", type=Path, default=DOCUMENT, metavar="protocol.md")
    made.add_argument("--vectors", type=Path, default=VECTORS, metavar="frames.json")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 passed, 1 something failed, 2 it could not be run."""
    options = parser().parse_intermixed_args(arguments)
    vectors = options.vectors if options.vectors.exists() else None
    if options.rules:
        print(rules_table(options.document))
        return 0
    if options.side is None:
        parser().error("say whether a server or a client is under test")
    found = scripts.chosen(scripts.exchanges(options.side, vectors), options.only)
    if options.list:
        for each in found:
            print(f"{each.name:<50} {' '.join(each.rules)}\n    {each.says}")
        print(f"{len(found)} exchanges")
        return 0
    settings = Settings(
        url=options.url,
        adapter=options.adapter,
        token=options.token,
        prompt=options.prompt,
        unreadable=options.unreadable,
        stop=stopper(options.stop) if options.stop else None,
        jobs=options.jobs,
        crowd=options.crowd,
        strict=not options.common_library,
        page=options.page,
        patience=options.patience,
    )
    run = run_server if options.side == "server" else run_client
    try:
        results = asyncio.run(run(found, settings, teller(options.json, options.quiet)))
    except Failed as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    if not options.json:
        print(summary(results))
        if vectors is None:
            print(f"without the vectors: there is no {options.vectors} (--vectors)")
    return int(any(each.outcome == FAILED for each in results) or not found)


def teller(as_json: bool, quiet: bool) -> Callable[[Result], None]:
    """What is printed of each result, as it comes."""

    def tell(result: Result) -> None:
        each = result.exchange
        if as_json:
            line = {"name": each.name, "rules": each.rules, "says": each.says} | {
                "outcome": result.outcome,
                "text": result.text,
                "seconds": round(result.seconds, 3),
            }
            print(json.dumps(line, ensure_ascii=False), flush=True)
        elif not quiet or result.outcome in (FAILED, ADVISED):
            print(f"{result.outcome:<14} {each.name:<48} {' '.join(each.rules)}", flush=True)
            if result.text:
                print(f"               {each.says}: {result.text}", flush=True)

    return tell


def summary(results: list[Result]) -> str:
    """The sums, and the rules behind what failed."""
    lines = []
    for outcome in OUTCOMES:
        these = [each for each in results if each.outcome == outcome]
        rules = by_number({rule for each in these for rule in each.exchange.rules})
        shown = f": {' '.join(rules)}" if rules and outcome != NOT_APPLICABLE else ""
        if these or outcome in (PASSED, FAILED):
            lines.append(f"{len(these):>4} {outcome}{shown}")
    return "\n".join(["", *lines])


def rules_table(document: Path) -> str:
    """Each rule of the document with the exchanges that show it; those without, and why."""
    shown: dict[str, set[str]] = {}
    for side in scripts.SIDES:
        for each in scripts.exchanges(side, VECTORS if VECTORS.exists() else None):
            for rule in each.rules:
                shown.setdefault(rule, set()).add(f"{side} {short(each)}")
    reasons = scripts.not_shown()
    lines = ["| rule | shown by |", "|---|---|"]
    lines += [
        f"| {rule} | {', '.join(sorted(shown[rule]))} |"
        for rule in by_number(scripts.rules_of(document))
        if rule in shown
    ]
    lines += ["", "| rule | why no exchange shows it |", "|---|---|"]
    lines += [
        f"| {rule} | {reasons.get(rule, 'none yet')} |"
        for rule in by_number(scripts.rules_of(document))
        if rule not in shown
    ]
    return "\n".join(lines)


def short(exchange: Exchange) -> str:
    """The name of an exchange without its variant."""
    return "vectors" if exchange.topic == "vectors" else "/".join(exchange.name.split("/")[:2])


def by_number(rules: Iterable[str]) -> list[str]:
    return sorted(rules, key=lambda rule: int(rule.removeprefix("R-")))
