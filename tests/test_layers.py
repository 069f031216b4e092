"""The tree explains itself: arrows point down, no circle, no long module, no crowded folder.

Read from the source, so that an import inside a function or under TYPE_CHECKING counts too. Which
packages may import which is in test_imports.py.
"""

from __future__ import annotations

import graphlib
from pathlib import Path

import pytest

from tests.test_imports import ALL as PRODUCT
from tests.test_imports import ROOT, imports

MOST_LINES = 350
MOST_MODULES = 20  # of a folder, its __init__.py not counted
TRAINING = {f"training.{path.stem}": path for path in sorted((ROOT / "training").glob("*.py"))}
ALL = PRODUCT | TRAINING
# From the ground up: a module imports from its own layer and from those before it. A name stands
# for itself and for what is in it; the longest that fits counts.
LAYERS = {
    "rowcast": (
        ("errors", "cache", "whole_files", "codes", "terminal.install_hints"),
        ("terminal.exit_codes", "terminal.text", "terminal.parsers"),
        ("messages",),
        ("picture", "grids", "share_link"),
        ("requests", "events", "rows_file"),
        ("generation",),
        ("session", "transport"),
        ("pixels",),
        ("client", "notebook"),
        ("aio", "sync"),
        ("terminal",),
        ("openai_gateway",),
        ("", "cli", "__main__"),
    ),
    "rowcast_server": (
        ("errors", "kept_folders", "limits", "metrics"),
        ("network",),
        ("families",),
        ("engine", "models"),
        ("placement", "access"),
        ("config",),
        ("memory", "admission", "clients"),
        ("picture",),
        ("cluster.seam",),
        ("jobs", "bridge", "runners"),
        ("session", "cluster"),
        ("gateway",),
        ("server", "convert", "token_command", "serve_options"),
        ("", "cli"),
    ),
    "rowcast_export": (
        ("errors", "progress", "agreements", "formats"),
        ("settings", "vqgan", "self_test", "tracing", "graph_checks", "runtime"),
        ("preview", "palette", "precision", "manifest", "verify", "building"),
        ("detokenizer_file", "distill"),
        ("export",),
        ("reporting",),
        ("", "distill_command", "cli"),
    ),
    "rowcast_bench": (
        ("machine", "markdown", "progress", "min_dalle_modules"),
        ("wire", "first_paint"),
        ("engine", "decode"),
        ("export", "transport"),
        ("scaling",),
        ("", "cli"),
    ),
}
# Folders whose parts know nothing of each other, though they stand in one layer.
APART = (
    ("rowcast_server.engine", "rowcast_server.models"),
    ("rowcast_bench.engine", "rowcast_bench.decode"),
)


def layer_of(module: str) -> int:
    package, _, inside = module.partition(".")
    layers = {name: number for number, names in enumerate(LAYERS[package]) for name in names}
    while inside and inside not in layers:
        inside = inside.rpartition(".")[0]
    return layers[inside]


def targets(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    return {name for name in imports(module, ALL[module]) if name in ALL and name != module}


@pytest.mark.parametrize("module", PRODUCT)
def test_an_arrow_within_a_package_never_runs_back_up(module: str) -> None:
    package = module.partition(".")[0]
    within = {name for name in targets(module) if name.partition(".")[0] == package}
    within -= {package}  # the package itself, whose names are loaded at first use
    if module == package:
        return
    assert {name for name in within if layer_of(name) > layer_of(module)} == set()


def test_every_layer_has_a_module() -> None:
    for package, layers in LAYERS.items():
        for name in (name for names in layers for name in names if name):
            assert f"{package}.{name}" in PRODUCT, name


@pytest.mark.parametrize("pair", APART)
def test_neighbours_know_nothing_of_each_other(pair: tuple[str, str]) -> None:
    for here, there in (pair, pair[::-1]):
        for module in (name for name in PRODUCT if name.startswith(f"{here}.")):
            assert not {name for name in targets(module) if name.startswith(there)}, module


def test_no_two_modules_import_each_other_by_any_way() -> None:
    """Training included. A circle is raised with its path."""
    lazily = {name for name in ALL if ALL[name].name == "__init__.py"}
    graphlib.TopologicalSorter({each: targets(each) - lazily for each in ALL}).prepare()


def sources() -> list[Path]:
    paths = [*ALL.values(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "tools").glob("*.py")]
    return [path for path in paths if "__pycache__" not in path.parts]


def test_no_module_is_longer_than_is_read_in_one_go() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in sources()}
    assert {str(path): length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_no_folder_is_crowded() -> None:
    modules = [path for path in sources() if path.name != "__init__.py"]
    crowded = {
        folder: sum(path.parent == folder for path in modules)
        for folder in {path.parent for path in modules}
    }
    assert {str(folder): n for folder, n in crowded.items() if n > MOST_MODULES} == {}
