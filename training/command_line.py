"""Command lines of the steps: tables of options, each with its default and its help."""

from __future__ import annotations

import argparse
from typing import Any

# By name: the default, or the type of an option without one, and the help.
Options = dict[str, tuple[Any, str]]


def parse(about: str | None, options: Options) -> argparse.Namespace:
    """Parse the words of the command, whose help begins with ``about``."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, (default, text) in options.items():
        flag = f"--{name}"
        if isinstance(default, bool):
            action = argparse.BooleanOptionalAction
            parser.add_argument(flag, action=action, default=default, help=text)
        elif isinstance(default, type):
            parser.add_argument(flag, type=default, help=text)
        else:
            text = f"{text} (default: {default})"
            parser.add_argument(flag, type=type(default), default=default, help=text)
    return parser.parse_args()
