"""Whom a command asks: an address among the words, the environment, a server on this machine."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rowcast.rows_file import load_rows
from rowcast.terminal import servers
from rowcast.terminal.commands import generate_parser
from rowcast.terminal.options import DrawOptions
from rowcast.terminal.parsers import WrongUsage
from rowcast.terminal.servers import DEFAULT_URL, as_url, settle_server
from rowcast_server.server import RowcastServer

from tests.support.client.commands import PROMPT, Captured, names, report, run, told
from tests.support.servers import running_server


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROWCAST_URL", "ROWCAST_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def settled(*words: str) -> tuple[str, list[str]]:
    parser = generate_parser()
    options: DrawOptions = parser.parse_anywhere(words, DrawOptions())
    settle_server(parser, options)
    return options.url, options.prompts


@pytest.mark.parametrize(
    ("word", "url"),
    [
        ("ws://127.0.0.1:8765", "ws://127.0.0.1:8765"),
        ("wss://pictures.example.org/ws", "wss://pictures.example.org/ws"),
        ("http://h:1", "http://h:1"),
        ("localhost:8765", "ws://localhost:8765"),
        ("[::1]:8765/x", "ws://[::1]:8765/x"),
        ("a red house: 4 trees", None),
        ("house:red", None),
        ("house", None),
        ("", None),
    ],
)
def test_an_address_is_known_by_its_look(word: str, url: str | None) -> None:
    assert as_url(word) == url


@pytest.mark.parametrize(
    ("words", "url", "prompts"),
    [
        ([PROMPT], DEFAULT_URL, [PROMPT]),
        (["ws://h:1", PROMPT], "ws://h:1", [PROMPT]),
        (["h:1", PROMPT, "--images", "2", "a blue house"], "ws://h:1", [PROMPT, "a blue house"]),
        (["--images", "2", "ws://h:1", "--seed", "3", PROMPT], "ws://h:1", [PROMPT]),
        (["house"], DEFAULT_URL, ["house"]),
        ([""], DEFAULT_URL, [""]),
    ],
)
def test_words_are_sorted_wherever_they_stand(
    words: list[str], url: str, prompts: list[str]
) -> None:
    assert settled(*words) == (url, prompts)


@pytest.mark.parametrize(
    "words",
    [
        [PROMPT, "ws://h:1"],
        [PROMPT, "h:1"],
        ["h:1", PROMPT, "wss://h"],
        ["ws:/127.0.0.1:8765", PROMPT],
        ["127.0.0.1", PROMPT],
        ["localhost", PROMPT],
    ],
)
def test_an_address_in_a_prompts_place_is_not_drawn(words: list[str], capsys: Captured) -> None:
    with pytest.raises(WrongUsage):
        settled(*words)
    assert "is no prompt; an address, as ws://host:port, comes first" in told(capsys)


@pytest.mark.parametrize(
    ("words", "again"),
    [
        ([PROMPT], ""),
        (["ws://h:1", PROMPT], ""),
        (["ws://h:2", PROMPT], "ws://h:2 "),
        (["ws://h:2/?token=secret", PROMPT], "URL "),
    ],
)
def test_the_next_command_line_names_the_server_if_it_must(
    words: list[str], again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWCAST_URL", "ws://h:1")
    parser = generate_parser()
    options = parser.parse_anywhere(words, DrawOptions())
    settle_server(parser, options)
    assert options.address_again == again


def test_the_environment_names_a_server_and_a_token(
    tiny_folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    with running_server(tiny_folder, tokens=frozenset({"open"})) as server:
        monkeypatch.setenv("ROWCAST_URL", server.ws_url.removeprefix("ws://"))
        assert run("generate", PROMPT, "--out", out) == 1
        assert "pass it with --token" in told(capsys)
        assert run("generate", PROMPT, "--out", out, "--token", "wrong") == 1
        monkeypatch.setenv("ROWCAST_TOKEN", "open")
        assert run("generate", PROMPT, "--out", out) == 0
        assert run("models") == 0
        assert run("grids", PROMPT, "--out", out / "grids.npz") == 0
        assert run("generate", PROMPT, "--out", out, "--token", "wrong") == 1
    assert load_rows(out / "image-0.rows").complete


def test_the_default_is_a_server_here_and_one_that_is_missing_is_explained(
    tiny_server: RowcastServer, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(servers, "DEFAULT_URL", "ws://127.0.0.1:1")
    assert run("generate", PROMPT, "--out", out) == 1
    said = told(capsys)
    assert "ws://127.0.0.1:1 cannot be reached" in said
    assert "rowcast serve`, or name another" in said
    assert "give a prompt" not in said
    monkeypatch.setattr(servers, "DEFAULT_URL", tiny_server.ws_url)
    assert run("generate", PROMPT, "--out", out) == 0
    monkeypatch.setenv("ROWCAST_URL", "ws://127.0.0.1:1/other")
    assert run("generate", PROMPT, "--out", out) == 1
    assert "rowcast serve`" not in told(capsys)  # somebody named it


def test_models_wants_an_address_and_no_other_word(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stop:
        run("models", "postcard")
    assert stop.value.code == 2
    assert "'postcard' is no address of a server" in told(capsys)


# Many pictures in one run


def test_prompts_one_after_the_other(
    tiny_server: RowcastServer, out: Path, tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeff# boats\na red boat\n\n a blue house \n # \n", "utf-8")
    words = ["generate", tiny_server.ws_url, "--images", 2, "--seed", 5, "--out", out]
    assert run(*words, "--prompts", file, "--json") == 0
    answer = report(capsys)
    assert answer["images"] == 4
    assert [each["prompt"] for each in answer["pictures"]] == [
        *["a red boat"] * 2,
        *["a blue house"] * 2,
    ]
    assert [each["image"] for each in answer["pictures"]] == [0, 1, 0, 1]
    assert answer["pictures"][3]["files"] == [
        f"{out}/image-3.{kind}" for kind in ("png", "gif", "rows")
    ]
    recipes = [load_rows(out / f"image-{number}.rows").recipe for number in range(4)]
    assert [(each.prompt, each.image) for each in recipes] == [
        ("a red boat", 0),
        ("a red boat", 1),
        ("a blue house", 0),
        ("a blue house", 1),
    ]
    assert run(*words, "a red boat", "a blue house", "--overwrite", "--format", "rows") == 0
    assert [load_rows(out / f"image-{number}.rows").recipe for number in range(4)] == recipes


def test_prompts_from_standard_input(
    tiny_server: RowcastServer, out: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.TextIOWrapper(io.BytesIO("# é\na bôat\na house".encode()), encoding="ascii")
    monkeypatch.setattr(sys, "stdin", typed)
    words = ["generate", tiny_server.ws_url, "--prompts", "-", "--format", "rows"]
    assert run(*words, "--out", out, "--json") == 0
    assert [each["prompt"] for each in report(capsys)["pictures"]] == ["a bôat", "a house"]


def test_a_prompt_that_cannot_be_is_told_before_any_is_drawn(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    prompts = [PROMPT, "long " * 1_000]
    assert run("generate", tiny_server.ws_url, *prompts, "--out", out) == 1
    assert "rowcast generate: prompt 2: the prompt has 5000 bytes" in told(capsys)
    assert names(out) == []


def test_a_prompt_that_is_refused_does_not_keep_the_others(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    words = ["generate", tiny_server.ws_url, "a house", "家", PROMPT, "海", "--images", 2]
    assert run(*words, "--out", out, "--json", "--format", "rows") == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert [line.partition(" can read nothing")[0] for line in lines if "of 4" in line] == [
        "rowcast: 2 of 4: tiny",
        "rowcast: 4 of 4: tiny",
    ]
    answer = json.loads(captured.out)
    assert answer["error"].startswith("2 of 4: tiny can read nothing of this prompt")
    told_of = [(each["number"], each["prompt"], each["files"]) for each in answer["pictures"]]
    assert told_of == [
        (1, "a house", [f"{out}/image-0.rows"]),
        (1, "a house", [f"{out}/image-1.rows"]),
        (2, "家", []),
        (3, PROMPT, [f"{out}/image-4.rows"]),  # as if the second had been drawn
        (3, PROMPT, [f"{out}/image-5.rows"]),
        (4, "海", []),
    ]
    failed = [each["number"] for each in answer["pictures"] if "error" in each]
    assert failed == [2, 4]


def test_of_several_saved_pictures_those_that_are_complete_are_passed_by(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    url, words = tiny_server.ws_url, [PROMPT, "--format", "rows", "--out", out]
    assert run("generate", url, *words) == 0
    assert run("generate", url, *words, "--stop-row", 2) == 0
    whole, half = out / "image-0.rows", out / "image-1.rows"
    capsys.readouterr()
    assert run("generate", url, "--from", whole, half, *words[1:], "--json") == 0
    captured = capsys.readouterr()
    assert f"{whole} is complete: passed by\n" in captured.err
    [picture] = json.loads(captured.out)["pictures"]
    assert picture["files"][0].startswith(f"{out}/image-1-row-2-seed-")
    assert run("generate", url, "--from", whole, *words[1:]) == 2
    assert told(capsys).startswith(f"rowcast generate: {whole}: the picture is complete; choose")


def test_several_saved_pictures_go_on(
    tiny_server: RowcastServer, out: Path, tmp_path: Path, capsys: Captured
) -> None:
    url = tiny_server.ws_url
    assert run("generate", url, PROMPT, "--images", 2, "--stop-row", 2, "--out", out) == 0
    capsys.readouterr()
    sources = [out / "image-0.rows", out / "image-1.rows"]
    whole = tmp_path / "whole"
    assert run("generate", "--from", *sources, url, "--out", whole, "--json") == 0
    answer = report(capsys)
    seed = answer["seed"]
    stems = [f"image-{number}-row-2-seed-{seed}" for number in (0, 1)]
    assert names(whole) == sorted(
        f"{stem}.{kind}" for stem in stems for kind in ("gif", "png", "rows")
    )
    for stem, source in zip(stems, sources, strict=True):
        finished, begun = load_rows(whole / f"{stem}.rows"), load_rows(source)
        assert finished.complete
        assert finished.held_bytes.startswith(begun.held_bytes)
    assert run("generate", url, "--from", whole / f"{stems[0]}.rows", "--out", whole) == 2
    assert "the picture is complete; choose the row to draw on from with --row" in told(capsys)
