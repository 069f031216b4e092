"""Arrows between the modules of training point one way, those inside functions too."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import training

FOLDER = Path(training.__file__).parent


def imports(path: Path) -> set[str]:
    """Modules of this folder that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {f"{node.module}"}
    names = {name.removeprefix("training.") for name in found if name.startswith("training.")}
    return {name for name in names if (FOLDER / f"{name}.py").exists()}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {path.stem: imports(path) for path in FOLDER.glob("*.py")}
    assert graph["rendering"] >= {"drawing", "scenes"}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names them
