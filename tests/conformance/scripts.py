"""Exchanges as data: the TOML files of exchanges/, and those made from tests/vectors."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
DOCUMENT: Final = FOLDER.parents[1] / "protocol.md"
VECTORS: Final = FOLDER.parent / "vectors" / "frames.json"
SIDES: Final = ("server", "client")


@dataclass(frozen=True)
class Exchange:
    """A scripted exchange; ``needs`` are conditions, ``each`` the values of this variant."""

    name: str
    topic: str
    says: str
    rules: tuple[str, ...]
    steps: list[dict[str, Any]]
    needs: tuple[str, ...] = ()
    each: dict[str, Any] = field(default_factory=dict)
    tries: int = 1  # where a race may end either way
    alongside: bool = False  # it only waits: it runs beside the others
    alone: bool = False  # it fills the server
    last: bool = False  # it ends the server
    should: bool = False  # what it shows is advice: a failure is told, and is none


def exchanges(side: str, vectors: Path | None = None) -> list[Exchange]:
    """All exchanges for a side under test; with ``vectors``, one for each frame that it reads."""
    found = []
    for path in sorted((FOLDER / "exchanges" / side).glob("*.toml")):
        for script in tomllib.loads(path.read_text("utf-8"))["exchange"]:
            found += _variants(path.stem, script)
    if vectors is not None:
        found += _from_vectors(side, json.loads(vectors.read_text("utf-8"))["frames"])
    return [each for each in found if not each.last] + [each for each in found if each.last]


def _variants(topic: str, script: dict[str, Any]) -> list[Exchange]:
    script = dict(script)
    script["rules"], script["needs"] = tuple(script["rules"]), tuple(script.get("needs", ()))
    each, name = script.pop("each", None), f"{topic}/{script.pop('name')}"
    if each is None:
        return [Exchange(name, topic, **script)]
    found = []
    for values in each:
        own = script | {"steps": _filled(script["steps"], values)}
        for part in ("rules", "needs"):  # what this variant shows, or asks for, besides
            own[part] = (*own[part], *values.get(part, ()))
        found.append(Exchange(f"{name}/{values['as']}", topic, each=values, **own))
    return found


def _filled(part: Any, values: dict[str, Any]) -> Any:
    """Steps in which ``"=NAME"`` is the value of that name in a variant, as it stands there."""
    if isinstance(part, dict):
        return {name: _filled(item, values) for name, item in part.items()}
    if isinstance(part, list):
        return [_filled(item, values) for item in part]
    is_name = isinstance(part, str) and part.startswith("=")
    return values.get(part[1:], part) if is_name else part


def _from_vectors(side: str, vectors: list[dict[str, Any]]) -> list[Exchange]:
    """One exchange for each frame of the vectors that this side has to read."""
    other = SIDES[1 - SIDES.index(side)]
    scripts = tomllib.loads((FOLDER / "exchanges" / "vectors.toml").read_text("utf-8"))[side]
    found = []
    for vector in vectors:
        if vector["from"] != other:
            continue
        kind = _kind(vector)
        script = scripts.get(kind, scripts["taken"])
        verdict = vector.get("why") or ("it is taken" if vector["meaning"] else "it is ignored")
        found.append(
            Exchange(
                f"vectors/{vector['name']}",
                "vectors",
                f"{vector['name']}: {verdict}",
                tuple(vector["rules"]),
                script["steps"],
                (*script.get("needs", ()), *(["strict"] if "needs" in vector else [])),
                {"frame": bytes.fromhex(vector["hex"])},
            )
        )
    return found


def _kind(vector: dict[str, Any]) -> str:
    """The name of a vector's script in vectors.toml, where there is one of that name."""
    if not vector["valid"]:
        is_greeting = vector["name"].startswith(("welcome", "hello"))
        return "refused_greeting" if is_greeting else "refused"
    meaning = vector["meaning"] or {"message": ""}
    if meaning["message"] == "error" and meaning["stream"] is None:
        return "error_of_the_connection"
    return str(meaning["message"])


def chosen(found: list[Exchange], only: list[str]) -> list[Exchange]:
    """Those whose name holds one of these words, or that show one of these rules; all if none."""
    if not only:
        return found
    return [
        each
        for each in found
        if any(word in each.rules if _is_rule(word) else word in each.name for word in only)
    ]


def _is_rule(word: str) -> bool:
    return re.fullmatch(r"R-\d+", word) is not None


def rules_of(document: Path) -> dict[str, str]:
    """The rules of protocol.md, numbers and words, without those that were withdrawn."""
    text = document.read_text("utf-8")
    found = re.findall(r"^(?:- \*\*|\| )(R-\d+)(?:\*\*| \|) (.*)$", text, re.M)
    return {number: words for number, words in found if not words.startswith("Withdrawn")}


def not_shown() -> dict[str, str]:
    """The rules that no exchange shows, and why."""
    return dict(tomllib.loads((FOLDER / "not_shown.toml").read_text("utf-8"))["rules"])
