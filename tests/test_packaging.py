"""What `pip install .` brings: the client, without torch, in a wheel of bounded size."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_BYTES = 25_000_000  # of all but the next, packed
MOST_RUNTIME_BYTES = 12_000_000  # onnxruntime-web, where `make page` has brought it
RUNTIME = "rowcast_server/page/runtime/"
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input")


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=400, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, *PIP, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.timeout(600)
def test_the_wheel_is_small_and_holds_every_package(wheel: Path) -> None:
    from zipfile import ZipFile

    sizes = {each.filename: each.compress_size for each in ZipFile(wheel).infolist()}
    runtime = sum(size for name, size in sizes.items() if name.startswith(RUNTIME))
    assert runtime <= MOST_RUNTIME_BYTES
    assert sum(sizes.values()) - runtime <= MOST_BYTES
    for needed in (
        "rowcast/py.typed",
        "rowcast_server/models/postcard/decoder.safetensors",
        "rowcast_server/models/postcard/detokenizer.onnx",
        "rowcast_server/models/postcard/preview.fp16.onnx",
        "rowcast_server/models/postcard/preview.int8.bin",
        "rowcast_bench/decode/held_out_prompts.txt",
        "rowcast_export/cli.py",
        "rowcast/preparing/command.py",
        "rowcast_bench/cli.py",
    ):
        assert needed in sizes


@pytest.mark.timeout(600)
def test_an_empty_environment_gets_the_client_without_torch(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty/bin/python"
    run(python, *PIP, "install", "--constraint", ROOT / "constraints.txt", wheel)
    code = (
        "import importlib.util, rowcast, rowcast.aio, rowcast.sync, rowcast.terminal.commands;"
        "print(importlib.util.find_spec('torch'), importlib.util.find_spec('onnx'))"
    )
    assert run(python, "-c", code).split() == ["None", "None"]
    assert "rowcast generate" in run(python, "-m", "rowcast", "--help")
    serve = subprocess.run(
        [str(python), "-m", "rowcast", "serve"], capture_output=True, text=True, timeout=60
    )
    assert serve.returncode == 1
    assert "pip install 'rowcast[server]'" in serve.stderr
