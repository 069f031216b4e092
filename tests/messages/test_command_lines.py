"""Command lines that fail: the exit code, one line for people, JSON for programs, no secret."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rowcast.terminal.install_hints import extra_of
from rowcast_server.server import RowcastServer

from tests.support.client.commands import PROMPT, Captured, run
from tests.support.servers import running_server

SECRET = "s3cret"
NOBODY = "ws://127.0.0.1:1"  # nothing listens there
FAILED, USAGE = 1, 2
WITH_JSON = ("demo", "generate", "grids", "models", "ps", "doctor", "cache")


@dataclass(frozen=True)
class Case:
    """Words of a command, `{open}`, `{closed}` and `{here}` filled in; its exit code, and what the
    line names of what was typed."""

    words: str
    code: int
    names: str
    missing: str = ""  # a module that is not installed

    def __str__(self) -> str:
        return self.words


CASES = [
    # Wrong values, before anything is asked
    Case("generate {open} PROMPT --images two", USAGE, "--images: invalid int value: 'two'"),
    Case("generate {open} PROMPT --seed 1.5", USAGE, "--seed: invalid int value: '1.5'"),
    Case("generate {open} PROMPT --top-p much", USAGE, "--top-p: invalid float value: 'much'"),
    Case("generate {open} PROMPT --format bmp", USAGE, "no format 'bmp'"),
    Case("generate {open} PROMPT --quality best", USAGE, "--quality: invalid choice: 'best'"),
    Case("generate {open} PROMPT --colour", USAGE, "--colour"),
    Case("generate {open} PROMPT --prompt x", USAGE, "unrecognized arguments: --prompt x"),
    Case("generate {open} a red boat", USAGE, "'a red boat'"),
    Case("generate {open}", USAGE, "give a prompt"),
    Case("generate {open} PROMPT --row 2", USAGE, "--row goes with --from"),
    Case("generate {open} --from x.rows --images 2", USAGE, "--images does not go with --from"),
    Case("generate {open} --from x.rows --seamless", USAGE, "--seamless joins"),
    Case("generate {open} PROMPT --prompts x.txt", USAGE, "--prompts, not both"),
    Case("grids {open} PROMPT", USAGE, "--out"),
    Case("models {open} x", USAGE, "x"),
    Case("ps {open} x", USAGE, "x"),
    Case("demo --images two", USAGE, "--images: invalid int value: 'two'"),
    Case("doctor all", USAGE, "all"),
    Case("cache all", USAGE, "'all'"),
    Case("completion elvish", USAGE, "'elvish'"),
    Case("paint", USAGE, "no command 'paint'"),
    Case("serve --port 65536", USAGE, "--port must be 0 to 65535"),
    Case("serve --slots none", USAGE, "--slots: invalid int value: 'none'"),
    Case("serve --port 7000 --http-port 7000", USAGE, "--port and --http-port"),
    Case("serve --public-url https://alice:s3cret@h", USAGE, "--public-url"),
    Case("serve --public-url ftp://alice:s3cret@h", USAGE, "--public-url"),
    Case("serve --public-url ftp://h/?token=s3cret", USAGE, "--public-url"),
    Case("serve --public-url https://h/?token=s3cret", USAGE, "--public-url"),
    Case("serve --public-url https://alice:s3cret@h\u2100", USAGE, "--public-url"),
    Case("token --subject x", USAGE, "--secret-file"),
    Case("token --secret-file f", USAGE, "--subject"),
    Case("token --new-secret f --subject x", USAGE, "--new-secret"),
    Case("token --subject token-0123456789ab", USAGE, "'token-0123456789ab'"),
    Case("token --subject x --expires 1y", USAGE, "'1y'"),
    Case("token --subject x --expires 366d", USAGE, "'366d'"),
    Case("token --subject x --rights draw,fly", USAGE, "'draw,fly'"),
    # Values that the server does not take
    Case("generate {open} PROMPT --images 0", USAGE, "--images must be"),
    Case("generate {open} PROMPT --temperature 99", USAGE, "--temperature must be"),
    Case("generate {open} PROMPT --stop-row 9", USAGE, "--stop-row must be"),
    Case("generate {open} PROMPT --model other", USAGE, "unknown model 'other'"),
    Case("generate {open} PROMPT --proxy ftp://alice:s3cret@h", USAGE, "proxy"),
    Case("grids {open} PROMPT --seed -1 --out {here}/g.npz", USAGE, "--seed must be"),
    # Addresses
    Case("generate http://alice:s3cret@h PROMPT", USAGE, "'http://***@h' is no WebSocket address"),
    Case("generate ws://alice:s3cret@h:99999 PROMPT", USAGE, "'ws://***@h:99999' is no"),
    Case("generate alice:s3cret@127.0.0.1:1 PROMPT", FAILED, "ws://***@127.0.0.1:1"),
    Case("generate alice:s3cret@h PROMPT", USAGE, "'***@h' is no prompt"),
    Case("models alice:s3cret@h", USAGE, "'***@h' is no address"),
    Case("generate PROMPT ws://alice:s3cret@h", USAGE, "ws://host:port"),
    Case("generate {open} PROMPT ws://alice:s3cret@h", USAGE, "ws://host:port"),
    Case("generate ws:// PROMPT", USAGE, "'ws://' is no WebSocket address"),
    Case("generate ws://alice:s3cret@127.0.0.1:1 PROMPT", FAILED, "ws://***@127.0.0.1:1"),
    Case("generate ws://alice:s3cret@[::1 PROMPT", USAGE, "no WebSocket address"),
    Case(f"models {NOBODY}", FAILED, NOBODY),
    Case(f"ps {NOBODY}", FAILED, NOBODY),
    Case(f"grids {NOBODY} PROMPT --out {{here}}/g.npz", FAILED, NOBODY),
    Case("models {http}", FAILED, "this is the HTTP port; --port has the WebSocket"),
    # Tokens
    Case("models {closed}", FAILED, "--token"),
    Case("models {closed} --token s3cret-no", FAILED, "--token"),
    Case("generate {closed} PROMPT --token s3cret-no", FAILED, "--token"),
    # Files
    Case("generate {open} --from {here}/none.rows", FAILED, "none.rows: No such file"),
    Case("generate {open} --prompts {here}/none.txt", FAILED, "none.txt: No such file"),
    Case("generate {open} --prompts {here}/empty", USAGE, "empty holds no prompt"),
    Case("generate {open} --from {here}/bad.rows", FAILED, "bad.rows: not a .rows file"),
    Case("generate {open} PROMPT --out {here}/empty/x", FAILED, "empty"),
    Case("generate {open} PROMPT --out /proc/none", FAILED, "/proc/none"),
    Case("grids {open} PROMPT --out {here}/bad.rows", FAILED, "bad.rows is no file of grids"),
    Case("replay {here}/none.rows", FAILED, "none.rows: No such file"),
    Case("replay {here}/bad.rows", FAILED, "bad.rows: not a .rows file"),
    Case("serve --quiet --model {here}/none", FAILED, "none'; name postcard"),
    Case("serve --token-file {here}/none", FAILED, "none: No such file"),
    Case("serve --token-file {here}/empty", FAILED, "empty holds no token"),
    Case("serve --device tpu", FAILED, "--device tpu"),
    Case("token --secret-file {here}/none --subject x", FAILED, "none: No such file"),
    Case("token --secret-file {here}/empty --subject x", FAILED, "empty holds no secret"),
    Case("token --new-secret {here}/empty", FAILED, "empty is there already"),
    Case("export {here}/none -o {here}/out", FAILED, "none: No such file"),
    Case("export {here}/bad.rows -o {here}/out", FAILED, "bad.rows"),
    Case("convert {here}/none -o {here}/out", FAILED, "none'; name"),
    # Extras that are not installed
    Case("completion bash", FAILED, "needs shtab: ", "shtab"),
    Case("bench wire", FAILED, "needs msgpack: ", "msgpack"),
    Case("serve --device cuda:all", FAILED, "needs torch: ", "torch"),
]


@pytest.fixture(scope="module")
def closed_server(tiny_folder: Path) -> Iterator[RowcastServer]:
    with running_server(tiny_folder, tokens=frozenset({SECRET}), http_port=0) as server:
        yield server


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty file and one of nonsense."""
    (tmp_path / "empty").write_text("")
    (tmp_path / "bad.rows").write_bytes(b"nonsense" * 9)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_command_that_fails_says_so_in_one_line(
    case: Case,
    here: Path,
    tiny_server: RowcastServer,
    closed_server: RowcastServer,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ROWCAST_URL", "ROWCAST_TOKEN", "ROWCAST_TOKENS"):
        monkeypatch.delenv(name, raising=False)
    if case.missing:
        monkeypatch.setitem(sys.modules, case.missing, None)
        monkeypatch.delitem(sys.modules, "rowcast_bench.wire", raising=False)  # it imports anew
    places = {
        "open": tiny_server.ws_url,
        "closed": closed_server.ws_url,
        "http": closed_server.http_url.replace("http", "ws"),
        "here": str(here),
    }
    command, *typed = case.words.split()
    words = [command, *(PROMPT if each == "PROMPT" else each.format(**places) for each in typed)]
    machine = command in WITH_JSON
    try:
        code = run(*words, *(["--json"] if machine else []))
    except SystemExit as leaving:  # of argparse
        code = int(leaving.code or 0)
    out, err = capsys.readouterr()
    assert code == case.code, err
    # One line; after the usage, if the words were wrong, and before a list of what is possible.
    usage, _, _ = err.partition(f"rowcast {command}: ")
    line = err.removeprefix(usage).splitlines()[0] if err != usage else err.strip()
    assert not usage or usage.startswith("usage: rowcast") or command in ("paint", "bench")
    assert case.names in line
    assert not case.missing or f"[{extra_of(case.missing)}]'" in line
    rest = err.removeprefix(usage).splitlines()[1:] if err != usage else []
    assert all(each.startswith("  ") for each in rest)
    for shown in (out, err):
        assert SECRET not in shown
        assert "Traceback" not in shown
    if machine:
        problem = json.loads(out.splitlines()[-1])["error"]
        assert case.names in problem
        assert problem in err
    else:
        assert out == ""


def test_every_command_with_json_and_every_exit_code_of_a_failure_is_tried() -> None:
    tried = {case.words.split()[0] for case in CASES}
    assert tried >= {*WITH_JSON, "serve", "replay", "export", "convert", "bench", "completion"}
    assert {case.code for case in CASES} == {FAILED, USAGE}
