"""Every text for people in the source, found by its syntax tree: errors, warnings, complaints.

A text is a template: what is interpolated stands in it as `{expression}`. A name is followed to the
texts that its function gives it, and a choice (`a if b else c`) is two texts.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "client_py/rowcast",
    "server/rowcast_server",
    "vqgan_export/rowcast_export",
    "bench/rowcast_bench",
)
BASE = "RowcastError"
# What else people are told by: argparse's refusals, complaints, and warnings of the log.
TELLING = ("error", "ArgumentTypeError", "complain", "warning")
CODED = ("Refused", "RequestRefused", "PictureGone", "CloseConnection")  # a code stands before


@dataclass(frozen=True)
class Text:
    """A text with the class or function that tells it, and the expressions within it."""

    file: str
    line: int
    teller: str
    template: str
    values: tuple[ast.expr, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.teller}: {self.template}"


@functools.cache
def trees() -> dict[str, ast.Module]:
    """The syntax tree of every module, by its path."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in paths}


@functools.cache
def parents() -> dict[str, str]:
    """The first base of every class of errors, our own up to RowcastError."""
    bases = {
        node.name: ast.unparse(node.bases[0]).rpartition(".")[2]
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.bases
    }
    found = {BASE: ""}
    while new := {name: base for name, base in bases.items() if base in found} | found:
        if new == found:
            break
        found = new
    return found


def is_a(kind: str, *bases: str) -> bool:
    """True if a class of errors is one of the ``bases``, or a child of one."""
    while kind and kind not in bases:
        kind = parents().get(kind, "")
    return bool(kind)


@functools.cache
def texts() -> tuple[Text, ...]:
    """All texts, those of our classes of errors and those that are told otherwise."""
    return tuple(text for file, tree in trees().items() for text in _texts_in(file, tree))


def read(source: str) -> list[Text]:
    """The texts of a few lines of Python."""
    return list(_texts_in("", ast.parse(source)))


def _texts_in(file: str, tree: ast.Module) -> Iterator[Text]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    functions += [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]  # type: ignore[misc]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        teller = getattr(node.func, "id", getattr(node.func, "attr", ""))
        place = 1 if teller in CODED else 0
        if (teller not in parents() and teller not in TELLING) or len(node.args) <= place:
            continue
        around = [each for each in functions if any(inside is node for inside in ast.walk(each))]
        after = tuple(node.args[1:]) if teller == "warning" else ()  # of the log: %s
        for template, values in set(_templates(node.args[place], around)):
            yield Text(file, node.lineno, teller, template, values + after)


Template = tuple[str, tuple[ast.expr, ...]]


def _templates(node: ast.expr, around: list[ast.FunctionDef]) -> list[Template]:
    """The texts that an expression may be."""
    match node:
        case ast.Constant(value=str(text)):
            return [(text, ())]
        case ast.JoinedStr(values=parts):
            return _joined([_templates(part, around) for part in parts])
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _joined([_templates(left, around), _templates(right, around)])
        case ast.IfExp(body=one, orelse=other):
            return _templates(one, around) + _templates(other, around)
        case ast.FormattedValue(value=ast.IfExp() | ast.Constant() as inner):
            return _templates(inner, around)
        case ast.FormattedValue(value=ast.Name() as inner, conversion=-1):
            found = _templates(inner, around)
            return [(f"{{{inner.id}}}", (node,))] if found[0][1] == (inner,) else found
        case ast.FormattedValue(value=inner, conversion=conversion):
            shown = ast.unparse(inner) + ("!r" if conversion == ord("r") else "")
            return [(f"{{{shown}}}", (node,))]
        case ast.Name(id=name):
            given = [
                each.value
                for function in around
                for each in ast.walk(function)
                if isinstance(each, ast.Assign)
                and any(isinstance(one, ast.Name) and one.id == name for one in each.targets)
            ]
            literal = [each for each in given if isinstance(each, ast.Constant | ast.JoinedStr)]
            if literal and len(literal) == len(given):
                return [found for each in literal for found in _templates(each, [])]
    return [(f"{{{ast.unparse(node)}}}", (node,))]


def _joined(parts: list[list[Template]]) -> list[Template]:
    return [
        ("".join(text for text, _ in each), tuple(value for _, values in each for value in values))
        for each in product(*parts)
    ]
