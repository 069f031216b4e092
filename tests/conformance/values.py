"""Values in a script: placeholders that are bound on first sight, and expressions.

``"?seed"`` takes whatever came, and every later ``"?seed"`` must be the same. ``"=rows - 1"`` is an
expression of the names bound so far. ``"hex:00ff"`` is a byte string. All else is itself.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from . import frames

Names = dict[str, Any]


class Failed(Exception):
    """Something else came than the script expects."""


class NotApplicable(Exception):
    """The exchange asks for what this implementation, or this run, does not have."""


class Record(dict[str, Any]):
    """A frame whose fields can be written ``limits.images`` in an expression."""

    __getattr__ = dict.__getitem__


def record(value: Any) -> Any:
    """A frame, and all in it, as records."""
    if isinstance(value, dict):
        return Record({name: record(item) for name, item in value.items()})
    return [record(item) for item in value] if isinstance(value, list) else value


FUNCTIONS: Names = {
    "abs": abs,
    "bytes": bytes,
    "all": all,
    "any": any,
    "crc32": frames.crc32,
    "len": len,
    "max": max,
    "min": min,
    "nan": float("nan"),
    "infinity": float("inf"),
    "range": range,
    "int": int,
    "set": set,
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sorted": sorted,
    "str": str,
    "view_key": frames.view_key,
}


def fresh() -> Names:
    """The names at the beginning of an exchange: keys that nobody has used."""
    keys = {f"key{number}": os.urandom(16) for number in ("", "2", "3")}
    return {**FUNCTIONS, **keys}


def evaluate(expression: str, names: Names) -> Any:
    """The value of an expression. Scripts are part of the kit: they may say what they like."""
    try:
        return eval(expression, {"__builtins__": {}, **names})
    except (NameError, KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise Failed(f"{expression!r} cannot be told: {error!r}") from error


def resolve(value: Any, names: Names) -> Any:
    """A value of a script as it is sent."""
    if isinstance(value, dict):
        return {name: resolve(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, names) for item in value]
    if isinstance(value, str):
        if value.startswith("="):
            return evaluate(value[1:], names)
        if value.startswith("?"):
            return evaluate(value[1:], names)
        if value.startswith("hex:"):
            return bytes.fromhex(value[4:])
        if value == "nil":
            return None
    return value


def fits(pattern: Any, value: Any, names: Names) -> bool:
    """True if a value is what a script expects; binds placeholders.

    A list is of alternatives; a table with ``min`` or ``max`` a range; another table, of fields.
    """
    if isinstance(pattern, list):
        return any(fits(each, value, names) for each in pattern)
    if isinstance(pattern, dict):
        if pattern.keys() <= {"min", "max"}:
            low, high = (resolve(pattern.get(end), names) for end in ("min", "max"))
            return (low is None or value >= low) and (high is None or value <= high)
        return isinstance(value, dict) and all(
            name in value and fits(item, value[name], names) for name, item in pattern.items()
        )
    if isinstance(pattern, str) and pattern.startswith("?"):
        return bool(names.setdefault(pattern[1:], value) == value)
    return bool(resolve(pattern, names) == value)


def check(message: dict[str, Any], kind: str, pattern: dict[str, Any], names: Names) -> None:
    """Raise Failed unless a frame, or an event, is of this kind and has these fields."""
    if message["message"] != kind:
        raise Failed(f"expected {kind}, got {told(message)}")
    for name, wanted in pattern.items():
        if not fits(wanted, message.get(name), names):
            wish = wanted
            if isinstance(wanted, str) and wanted[:1] in "=?":
                wish = f"{told(resolve(wanted, names))} ({wanted})"
            raise Failed(f"{kind}.{name} is {told(message.get(name))}, not {wish}")


def told(value: Any) -> str:
    """A value for people: byte strings in hexadecimal, long ones cut."""
    if isinstance(value, bytes | bytearray):
        return f"h'{value[:16].hex()}{'…' if len(value) > 16 else ''}'"
    if isinstance(value, dict) and "message" in value:
        fields = [f"{name}={told(item)}" for name, item in value.items() if name != "message"]
        text = f"{value['message']}({', '.join(fields)})"
        return text if len(text) < 300 else f"{text[:300]} …"
    return repr(value)
