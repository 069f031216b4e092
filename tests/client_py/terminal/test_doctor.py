"""`rowcast doctor`, `rowcast cache` and `rowcast completion`: the installation shows itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from pathlib import Path

import pytest
from rowcast.errors import DetokenizerError
from rowcast.terminal import doctor as module
from rowcast.terminal.cache_files import cache_entries
from rowcast.terminal.completion import completion
from rowcast.terminal.install_hints import install_hint

from tests.support.client.commands import Captured, names, report, run, told

SHA256 = "ab" * 32


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking the real one takes seconds; one test does."""
    monkeypatch.setattr(module, "ASK_TORCH", "print('2.0')")


def findings(capsys: Captured) -> dict[str, tuple[str, bool | None]]:
    found = report(capsys)["findings"]
    return {each["title"]: (each["text"], each["is_well"]) for each in found}


# Doctor


def test_a_whole_installation_is_well(own_cache: Path, capsys: Captured) -> None:
    assert run("doctor", "--json") == 0
    found = findings(capsys)
    assert found["rowcast"][0].startswith(f"{version('rowcast')}, run as ")
    assert f"numpy {version('numpy')}" in found["packages"][0]
    assert found["[server]"] == ("installed", True)
    assert found["cache"] == (f"{own_cache}, 0 entries, 0.0 MB, writable", True)
    assert found["ONNX Runtime"][0].startswith(f"{version('onnxruntime')} offers cpu")
    assert found["torch"] == ("2.0 sees no GPU", True)
    text, is_well = found["self-test"]
    assert text.startswith("decoded the embedded model's grid, fp32 on cpu in ")
    assert is_well


def test_for_people_each_finding_is_a_line(own_cache: Path, capsys: Captured) -> None:
    assert run("doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"ok cache         {own_cache}, 0 entries, 0.0 MB, writable" in lines
    assert sum(line.startswith("ok self-test ") for line in lines) == 1


def test_what_an_extra_lacks_is_told_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def without(name: str) -> str:
        if name in ("aiohttp", "emoji"):
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(module, "version", without)
    assert run("doctor", "--json") == 0
    found = findings(capsys)
    assert found["[server]"] == (f"without aiohttp, emoji: {install_hint('server')}", None)
    assert found["[bench]"][0].startswith("without aiohttp, emoji: ")  # it brings [server]
    assert found["[hub]"] == ("installed", True)


def test_what_two_extras_bring_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def without(name: str) -> str:
        if name == "onnx":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(module, "version", without)
    run("doctor", "--json")
    text, _ = findings(capsys)["[training]"]
    assert text.partition(":")[0].count("onnx") == text.count("onnxscript") + 1


def test_what_is_not_well_is_a_failure(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def refuse(*_: object) -> None:
        raise DetokenizerError("it paints another picture [/b]")

    own_cache.write_bytes(b"no folder")
    monkeypatch.setattr(module, "Detokenizer", refuse)
    monkeypatch.setattr(module, "ASK_TORCH", "raise OSError('libcudart.so.12: not found')")
    assert run("doctor", "--json") == 1
    captured = capsys.readouterr()
    assert '"error": "not well: cache, torch, self-test"' in captured.out
    assert run("doctor") == 1
    shown = capsys.readouterr().out
    assert "!! self-test     it paints another picture [/b]" in shown
    assert "!! torch         cannot be loaded: OSError: libcudart.so.12: not found" in shown
    assert f"!! cache         cannot be written ({own_cache}: " in shown


def test_proxies_and_secrets(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://alice:s3cret@127.0.0.1:1080")
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setenv("ROWCAST_URL", "ws://bob:s3cret@h:1")
    monkeypatch.setenv("ROWCAST_TOKEN", "s3cret")
    assert run("doctor") == 0
    shown = capsys.readouterr().out
    assert "   proxy         $ALL_PROXY is socks5://***@127.0.0.1:1080" in shown
    assert "   proxy         $no_proxy is localhost: for --proxy environment alone" in shown
    assert "   server        $ROWCAST_URL is ws://***@h:1" in shown
    assert "   token         $ROWCAST_TOKEN is set" in shown
    assert "s3cret" not in shown


def test_a_torch_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(module, "ASK_TORCH", "import time; time.sleep(60)")
    monkeypatch.setattr(module, "TORCH_SECONDS", 0.2)
    assert run("doctor", "--json") == 1
    assert '"torch", "text": "does not load within 0.2 s"' in capsys.readouterr().out


# Cache


@pytest.fixture
def filled(own_cache: Path) -> Path:
    """A cache with files of ours and of somebody else's."""
    for name, size in {
        f"{SHA256}.onnx": 3_000_000,
        f"{SHA256}.npy.part": 1_000,
        "download-x1_y": 0,
        "graphs/0123/model.onnx": 2_000_000,
        "detokenizers/4567/detokenizer.onnx": 500_000,
        "notes.txt": 7,
        "graphs.txt": 7,
        "photos/graphs/mine.jpg": 7,
    }.items():
        path = own_cache / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return own_cache


def test_the_cache_is_counted_and_listed(filled: Path, capsys: Captured) -> None:
    assert run("cache") == 0
    assert capsys.readouterr().out == f"{filled}: 5 files and folders, 5.5 MB\n"
    assert run("cache", "list") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(words[0], words[-1]) for words in lines[:3]] == [
        ("3.0", f"{SHA256}.onnx"),
        ("2.0", "graphs/0123"),
        ("0.5", "detokenizers/4567"),
    ]
    assert run("cache", "path") == 0
    assert capsys.readouterr().out == f"{filled}\n"


def test_clearing_removes_what_rowcast_wrote_alone(filled: Path, capsys: Captured) -> None:
    assert run("cache", "clear", "--json") == 0
    answer = report(capsys)
    assert (answer["cleared"], answer["bytes"], len(answer["files"])) == (True, 5_501_000, 5)
    assert list(cache_entries(filled)) == []
    assert names(filled) == ["detokenizers", "graphs", "graphs.txt", "notes.txt", "photos"]
    assert (filled / "photos/graphs/mine.jpg").exists()
    assert run("cache", "clear") == 0
    assert capsys.readouterr().out == f"removed from {filled}: 0 files and folders, 0.0 MB\n"


def test_a_cache_that_is_not_there_is_empty(own_cache: Path, capsys: Captured) -> None:
    assert run("cache", "--json") == 0
    assert report(capsys) == {"path": str(own_cache), "bytes": 0, "files": []}


# Completion


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("rowcast mod", {"models"}),
        ("rowcast generate --im", {"--images"}),
        ("rowcast generate --quality p", {"palette", "preview"}),
        ("rowcast serve --stop", {"--stop-at-eof"}),
        ("rowcast bench wi", {"wire"}),
        ("rowcast cache ", {"show", "list", "clear", "path"}),
    ],
)
def test_bash_completes_words(line: str, found: set[str], script: Path) -> None:
    words = line.split(" ")
    code = (
        f"source {script}; COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); "
        f"COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}; "
        f"_shtab_rowcast rowcast '{words[-1]}' '{words[-2]}'; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert set(done.stdout.split()) == found


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "rowcast"
    command = [sys.executable, "-m", "rowcast", "completion", "bash"]
    path.write_bytes(subprocess.check_output(command, env=os.environ, timeout=60))
    return path


def test_every_shell_gets_a_script_with_every_command(capsys: Captured) -> None:
    for shell in ("zsh", "fish", "tcsh", "powershell"):
        assert run("completion", shell) == 0
        shown = capsys.readouterr().out
        for command in ("generate", "serve", "export", "bench", "completion"):
            assert command in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh", "powershell"])
def test_a_command_that_lacks_its_packages_is_completed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, shell: str
) -> None:
    def missing(point: EntryPoint) -> None:
        raise ModuleNotFoundError(name=point.name)

    monkeypatch.setattr(EntryPoint, "load", missing)
    assert completion([shell]) == 0
    assert "export" in capsys.readouterr().out


def test_without_shtab_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert run("completion", "bash") == 1
    assert told(capsys) == f"rowcast completion: needs shtab: {install_hint('completion')}"
