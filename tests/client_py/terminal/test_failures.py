"""How commands end that cannot do what was asked: exit codes, options as typed, JSON always."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rowcast.errors import DetokenizerError, InvalidRequest, RequestRefused, RowcastError
from rowcast.terminal.exit_codes import failure
from rowcast_server.server import RowcastServer

from tests.support.client.commands import PROMPT, Captured, run


def code_of(*words: object) -> int:
    """The exit code, however a command ends."""
    try:
        return run(*words)
    except SystemExit as leaving:
        return int(leaving.code or 0)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ([PROMPT, "--images", "0"], 2, "--images must be a whole number from 1 to 65536, not 0"),
        ([PROMPT, "--images", "two"], 2, "argument --images: invalid int value: 'two'"),
        ([PROMPT, "--stop-row", "9"], 2, "--stop-row must be a whole number from 1 to 4, not 9"),
        ([PROMPT, "--top-k", "-1"], 2, "--top-k must be"),
        ([PROMPT, "--model", "other"], 2, "unknown model 'other'; the server has tiny"),
        ([PROMPT, "--colour"], 2, "unrecognized arguments: --colour"),
        ([], 2, "give a prompt, or a saved picture with --from"),
        (["a", "red", "boat"], 2, "put the prompt in quotes: 'a red boat'"),
        ([PROMPT, "--proxy", "ftp://h"], 2, "proxy"),
        (["--from", "none.rows"], 1, "none.rows: No such file or directory"),
        (["--prompts", "none.txt"], 1, "none.txt: No such file or directory"),
        ([PROMPT, "--out", "/proc/none"], 1, "/proc/none"),
    ],
)
def test_json_always_ends_it_with_what_was_wrong(
    tiny_server: RowcastServer,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    error: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert code_of("generate", tiny_server.ws_url, *words, "--json") == code
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    answer = json.loads(line)
    assert error in answer["error"]
    assert error in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("command", ["generate", "grids", "models", "ps"])
@pytest.mark.parametrize(
    ("url", "code", "error"),
    [("ws://127.0.0.1:1", 1, "is the server running"), ("ws://", 2, "is no WebSocket address")],
)
def test_json_where_there_is_no_server(
    tmp_path: Path, capsys: Captured, command: str, url: str, code: int, error: str
) -> None:
    more = {"generate": [PROMPT, "--out", tmp_path], "models": [], "ps": []}
    words = more.get(command, [PROMPT, "--out", tmp_path / "grids.npz"])
    assert code_of(command, url, *words, "--json") == code
    (line,) = capsys.readouterr().out.splitlines()
    assert error in json.loads(line)["error"]


@pytest.mark.parametrize("words", [["nothing", "--json"], ["--json"], ["cache", "all", "--json"]])
def test_json_for_wrong_words_of_any_command(capsys: Captured, words: list[str]) -> None:
    assert code_of(*words) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["error"]


def test_json_for_a_fault_of_ours_too(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("rowcast.terminal.commands.draw", breaks)
    with pytest.raises(ZeroDivisionError):
        run("generate", PROMPT, "--json")
    assert "a fault" in json.loads(capsys.readouterr().out)["error"]


def test_without_json_stdout_stays_empty(capsys: Captured) -> None:
    assert code_of("generate", "ws://127.0.0.1:1", PROMPT, "--images", "two") == 2
    assert code_of("generate", "ws://127.0.0.1:1", "--", "--json") == 1  # a prompt of that name
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InvalidRequest("stop_row must be 1 to 4"), 2, "--stop-row must be 1 to 4"),
        (InvalidRequest("x.rows: row must be 0 to 4"), 2, "x.rows: --row must be 0 to 4"),
        (InvalidRequest("the prompt is empty"), 2, "the prompt is empty"),
        (
            InvalidRequest("the prompt is no valid text: surrogates"),
            2,
            "the prompt is no valid text: surrogates; set LC_ALL or LANG to the encoding of the "
            "terminal, such as C.UTF-8",
        ),
        (RowcastError("pass the right one with token="), 1, "pass the right one with --token"),
        (
            DetokenizerError("pass allowed_hosts=['h.org'] (--allow-host) if you trust it"),
            1,
            "pass --allow-host h.org if you trust it",
        ),
        (RequestRefused("busy", "later", 2000), 1, "later [busy] (retry in 2 s)"),
        (FileNotFoundError(2, "No such file", "x.rows"), 1, "x.rows: No such file"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_options_are_named_as_they_are_typed(error: BaseException, code: int, text: str) -> None:
    assert failure(error) == (code, text)


def test_a_fault_of_ours_is_no_failure_to_tell() -> None:
    with pytest.raises(KeyError):
        failure(KeyError("x"))


def test_the_codes_are_those_of_the_document() -> None:
    from rowcast.terminal import exit_codes

    page = (Path(__file__).parents[3] / "docs/command-line.md").read_text("utf-8")
    table = page[page.index("| exit code |") : page.index("With `--json`")]
    codes = {
        value
        for name, value in vars(exit_codes).items()
        if name.isupper() and isinstance(value, int)
    }
    written = {int(line.split("|")[1]) for line in table.splitlines()[2:] if line}
    assert written == codes
