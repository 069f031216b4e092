"""The command `rowcast token`: signed tokens, and the secrets that sign them."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
import time
from pathlib import Path
from typing import Final

from rowcast.errors import RowcastError

from .access import MAX_SUBJECT_CHARACTERS, RIGHTS, SHARED_SUBJECT, read_secrets, sign_token

SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
MOST_DAYS: Final = 365


def token(arguments: list[str]) -> int:
    """Sign a token for somebody, or write the secret that signs."""
    parser = token_parser()
    options = parser.parse_args(arguments)
    fresh: Path | None = options.new_secret
    if fresh is not None:
        if options.secret_file is not None or options.subject is not None:
            parser.error("--new-secret stands alone: no token is signed by it yet")
        write_secret(fresh)
        print(f"wrote {fresh}; name it to --secret-file here, and to the server", file=sys.stderr)
        return 0
    if options.secret_file is None or options.subject is None:
        parser.error("give --secret-file and --subject, or --new-secret for a secret")
    secret = read_secrets(options.secret_file)[0]
    print(sign_token(secret, options.subject, time.time() + options.expires, options.rights))
    return 0


def token_parser() -> argparse.ArgumentParser:
    """The options of `rowcast token`."""
    parser = argparse.ArgumentParser(
        prog="rowcast token",
        allow_abbrev=False,
        description="Sign a token that admits one bearer for some time, and print it alone on "
        "stdout. A server that has the same file of secrets admits its bearer; it keeps no list, "
        "so a token ends when its time does, or when its secret is taken out of that file.",
        epilog="examples:\n"
        "  rowcast token --new-secret secrets.txt\n"
        "  rowcast token --secret-file secrets.txt --subject alice\n"
        "  rowcast token --secret-file secrets.txt --subject wall --expires 7d --rights watch\n"
        "then:\n"
        "  rowcast serve --token-secret-file secrets.txt\n"
        "  ROWCAST_TOKEN=$(rowcast token --secret-file secrets.txt --subject alice) \\\n"
        "    rowcast generate 'a red house at sunset'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        type=Path,
        help="the secrets, one a line: the first signs, the server takes what any has signed",
    )
    parser.add_argument(
        "--subject",
        metavar="NAME",
        type=_subject,
        help="whom the token is for: 1 to 128 printable characters, which its bearer can read",
    )
    parser.add_argument(
        "--expires",
        metavar="TIME",
        type=_seconds,
        default="1h",
        help="for how long it admits: a number with s, m, h or d, at most 365d (default: 1h)",
    )
    parser.add_argument(
        "--rights",
        metavar="R,...",
        type=_rights,
        default="draw,watch",
        help="what it allows: draw, watch, or both (default: draw,watch)",
    )
    parser.add_argument(
        "--new-secret",
        metavar="FILE",
        type=Path,
        help="write a fresh secret to a file that is not there yet, readable by you alone",
    )
    return parser


def write_secret(path: Path) -> None:
    """Write a fresh secret of 256 bits, readable by its owner alone. Raises RowcastError where the
    file is there, and OSError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise RowcastError(f"{path} is there already; name another file") from error
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    except OSError:
        path.unlink()
        raise


def _subject(text: str) -> str:
    if not 1 <= len(text) <= MAX_SUBJECT_CHARACTERS or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"must be 1 to {MAX_SUBJECT_CHARACTERS} printable characters, not {text!r}"
        )
    if SHARED_SUBJECT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is how a shared token is named; take another")
    return text


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    seconds = int(found[1]) * SECONDS[found[2]] if found else 0
    if not 1 <= seconds <= MOST_DAYS * SECONDS["d"]:
        raise argparse.ArgumentTypeError(
            f"must be a time such as 90s, 15m, 1h or 7d, at most {MOST_DAYS}d, not {text!r}"
        )
    return seconds


def _rights(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    if not set(asked) <= set(RIGHTS):
        raise argparse.ArgumentTypeError(f"must be of {', '.join(RIGHTS)}, not {text!r}")
    return tuple(right for right in RIGHTS if right in asked)
