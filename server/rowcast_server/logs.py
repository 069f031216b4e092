"""The server's log on stderr: lines for people, or an object a line for programs."""

from __future__ import annotations

import logging

from pythonjsonlogger.json import JsonFormatter


def set_up_logs(level: int, form: str) -> None:
    """Log from ``level`` on, in the form `text` or `json`."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
        )
        if form == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler])
