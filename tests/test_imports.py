"""Who may import whom: the arrows between the packages, and what each must not know.

Read from the source, so that an import inside a function or under TYPE_CHECKING counts too.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "rowcast": ROOT / "client_py/rowcast",
    "rowcast_server": ROOT / "server/rowcast_server",
    "rowcast_export": ROOT / "vqgan_export/rowcast_export",
    "rowcast_bench": ROOT / "bench/rowcast_bench",
}
# Our own modules that a package may use of another package.
ARROWS = {
    "rowcast": set(),
    "rowcast_export": {
        "rowcast.errors",
        "rowcast.whole_files",
        "rowcast.pixels.runtime",
        "rowcast.terminal.install_hints",
    },
    "rowcast_server": {
        "rowcast.messages",
        "rowcast.errors",
        "rowcast.cache",
        "rowcast.whole_files",
        "rowcast.picture",
        "rowcast.rows_file",
        "rowcast.transport",
        "rowcast.pixels.palette",
        "rowcast.pixels.runtime",
        "rowcast.terminal.exit_codes",
        "rowcast.terminal.install_hints",
        "rowcast_export.formats",
    },
}
# Third-party packages that only these modules may import.
ONLY_IN = {
    "websockets": {
        "rowcast.aio",
        "rowcast.sync",
        "rowcast.transport",
        "rowcast_server.gateway.websocket",
        "rowcast_server.gateway.watchdog",
    },
    "aiohttp": {
        "rowcast.openai_gateway.app",
        "rowcast_server.gateway.files",
        "rowcast_server.gateway.page",
        "rowcast_server.gateway.picture_states",
        "rowcast_server.gateway.sending",
        "rowcast_server.gateway.web",
    },
    "httpx": {"rowcast.pixels.download", "rowcast.pixels.http_client"},
    "onnxruntime": {"rowcast.pixels.runtime"},  # without its telemetry
    "huggingface_hub": {"rowcast_server.models.hub"},
    "jwt": {"rowcast_server.access"},
    "prometheus_client": {"rowcast_server.gateway.prometheus"},
    "ray": {"rowcast_server.cluster.ray_cluster"},
}
WITHOUT = {
    "rowcast_server.engine": {"asyncio", "websockets", "aiohttp"},
    "rowcast_server.engine.engine": {"torch", "onnxruntime"},
    "rowcast_server.engine.runner": {"torch", "onnxruntime"},
    "rowcast_server.engine.scheduler": {"numpy", "torch", "onnxruntime"},
    "rowcast_server.engine.request": {"torch", "onnxruntime"},
    "rowcast_server.access": {"asyncio", "websockets", "aiohttp"},
    "rowcast_server.gateway.request_head": {"asyncio", "websockets", "aiohttp"},
    "rowcast_server.gateway.visitors": {"asyncio", "websockets", "aiohttp"},
    "rowcast_server.clients": {"asyncio", "websockets", "aiohttp"},
    "rowcast_server.limits": {"asyncio", "websockets", "aiohttp"},
    "rowcast_server.session": {"asyncio", "websockets", "threading"},
    "rowcast_server.jobs": {"asyncio", "websockets", "threading"},
    "rowcast.session": {"asyncio", "websockets", "threading"},
    "rowcast.messages": {"asyncio", "websockets", "numpy"},
    "rowcast.picture": {"onnxruntime", "PIL", "asyncio"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            yield ".".join(parts).removesuffix(".__init__"), path


def imports(module: str, path: Path) -> set[str]:
    """Absolute names of all that a module imports; a name from a module counts as module.name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")
                if path.name != "__init__.py":
                    package = package[:-1]
                package = package[: len(package) - (node.level - 1)]
                base = ".".join([*package, base]).rstrip(".")
            found |= {f"{base}.{alias.name}" for alias in node.names} | {base}
    return found


ALL = dict(modules())


@pytest.mark.parametrize("module", ALL)
def test_arrows_between_packages_point_one_way(module: str) -> None:
    package = module.split(".")[0]
    if package not in ARROWS:
        return  # benchmarks may use everything
    for name in imports(module, ALL[module]):
        other = name.split(".")[0]
        if other in PACKAGES and other != package:
            allowed = ARROWS[package]
            assert any(name == ok or name.startswith(f"{ok}.") for ok in allowed) or any(
                ok.startswith(f"{name}.") for ok in allowed
            ), f"{module} imports {name}"


def test_in_what_serves_and_draws_torch_is_known_here_alone() -> None:
    """Its own files, and what the fast paths are compared with."""
    serving = ("rowcast.", "rowcast_server.", "rowcast_export.formats.")
    users = {
        module
        for module, path in ALL.items()
        if f"{module}.".startswith(serving)
        and any(name.split(".")[0] == "torch" for name in imports(module, path))
    }
    assert users == {
        "rowcast_export.formats.torch_files",
        "rowcast_server.engine.devices_torch",
        "rowcast_server.engine.noise",
        "rowcast_server.engine.runner_torch",
        "rowcast_server.engine.sampling_torch",
        "rowcast_server.families.choosing_torch",
        "rowcast_server.families.dalle_bart_torch",
        "rowcast_server.families.janus.reference",
        "rowcast_server.families.janus.torch_slots",
        "rowcast_server.families.torch_slots",
        "rowcast_server.network.dalle_bart",
        "rowcast_server.network.device_weights",
        "rowcast_server.network.static_decoder",
        "rowcast_server.placement",
        "rowcast_server.runners",
    }


@pytest.mark.parametrize("extra", ["server", "export"])
def test_an_extra_brings_what_reading_checkpoints_imports(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"][extra]]
    brought = {re.split(r"[^\w-]", line)[0] for line in lines}
    needed = {
        name.split(".")[0]
        for module, path in ALL.items()
        if module.startswith("rowcast_export.formats")
        for name in imports(module, path)
    }
    needed -= {"torch", *PACKAGES, *sys.stdlib_module_names}
    assert {"numpy", "safetensors"} <= needed <= brought


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_where_it_belongs(library: str) -> None:
    users = {
        module
        for module, path in ALL.items()
        if any(name.split(".")[0] == library for name in imports(module, path))
        and not module.startswith("rowcast_bench")
    }
    assert users == ONLY_IN[library]


@pytest.mark.parametrize("prefix", WITHOUT)
def test_what_a_module_must_not_know(prefix: str) -> None:
    for module, path in ALL.items():
        if module == prefix or module.startswith(f"{prefix}."):
            known = {name.split(".")[0] for name in imports(module, path)}
            assert not known & WITHOUT[prefix], module


@pytest.mark.parametrize(
    ("package", "heavy"),
    [
        ("rowcast", {"torch", "onnx", "onnxruntime", "numpy", "websockets", "rowcast_server"}),
        ("rowcast.cli", {"torch", "onnx", "onnxruntime", "rowcast_server"}),
        (
            "rowcast.aio, rowcast.sync, rowcast.terminal.commands",
            {"torch", "onnx", "rowcast_server"},
        ),
        # What takes long is imported in a thread, beside the caller's event loop.
        ("rowcast.aio, rowcast.sync", {"onnxruntime", "httpx", "rich"}),
        ("rowcast.pixels.runtime", {"onnxruntime", "numpy"}),
        (
            "rowcast_server.server, rowcast_server.cli",
            {"torch", "onnxscript", "prometheus_client", "pythonjsonlogger"},
        ),
        ("rowcast_server.engine.runner_torch, rowcast_server.memory", {"onnx", "onnxruntime"}),
        ("rowcast.whole_files", {"numpy", "msgspec", "websockets", "rowcast_server"}),
        ("rowcast_export.cli", {"torch", "onnx", "onnxruntime", "websockets", "rowcast_server"}),
        ("rowcast_export.manifest", {"torch", "onnx", "onnxruntime", "websockets"}),
        (
            "rowcast_export.formats",
            {"torch", "onnx", "onnxruntime", "websockets", "rowcast_server"},
        ),
    ],
)
def test_importing_costs_no_more_than_it_must(package: str, heavy: set[str]) -> None:
    code = f"import sys, {package}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not set(run.stdout.split()) & heavy
