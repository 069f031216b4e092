"""The `rowcast` command: subcommands by entry point, exit codes, and never a traceback."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, version

import pytest
from rowcast import cli
from rowcast.errors import RowcastError
from rowcast.terminal.install_hints import install_hint

from tests.test_readme import PARSERS

Captured = pytest.CaptureFixture[str]


def works(arguments: list[str]) -> int:
    """Do what was asked.

    And more.
    """
    print("did", *arguments)
    return 0


def fails(arguments: list[str]) -> int:
    raise RowcastError("it cannot be done")


def cannot_write(arguments: list[str]) -> int:
    raise PermissionError(13, "Permission denied", "/some/where")


def breaks_off(arguments: list[str]) -> int:
    raise KeyboardInterrupt


def lacks_a_package(arguments: list[str]) -> int:
    raise ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions above as subcommands, beside one whose package is not installed."""
    found = [
        EntryPoint(name, f"{__name__}:{name}", cli.GROUP)
        for name in ("works", "fails", "cannot_write", "breaks_off", "lacks_a_package")
    ]
    found.append(EntryPoint("serve", "no_such_package_here:serve", cli.GROUP))
    monkeypatch.setattr(cli, "entry_points", lambda group: found)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[works.__module__])


@pytest.mark.usefixtures("commands")
def test_a_subcommand_gets_the_words_after_it(capsys: Captured) -> None:
    assert cli.main(["works", "well", "--now"]) == 0
    assert capsys.readouterr().out == "did well --now\n"


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        ("fails", 1, "rowcast fails: it cannot be done"),
        ("cannot_write", 1, "rowcast cannot_write: /some/where: Permission denied"),
        ("breaks_off", 130, "rowcast: stopped"),
        ("lacks_a_package", 1, f"lacks_a_package: needs aiohttp: {install_hint('server')}"),
        ("serve", 1, f"rowcast serve: needs no_such_package_here: {install_hint('server')}"),
        ("nothing", 2, "rowcast: no command 'nothing'; see rowcast --help"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    capsys: Captured, command: str, code: int, text: str
) -> None:
    assert cli.main([command]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.strip().splitlines()
    assert text in line


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["-h"], 0), (["--help"], 0)])
def test_help_lists_the_commands_each_with_a_line(
    capsys: Captured, arguments: list[str], code: int
) -> None:
    assert cli.main(arguments) == code
    shown = capsys.readouterr().out
    assert "  works      Do what was asked.\n" in shown
    assert "And more" not in shown
    assert shown.index("  serve ") < shown.index("  fails ")  # ours first
    assert install_hint("server") in shown  # one that cannot be loaded is listed too


def test_the_version_is_the_packages(capsys: Captured) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"rowcast {version('rowcast')}\n"


def test_no_option_is_taken_for_another_by_its_beginning() -> None:
    """As ``--prompt`` for ``--prompts``, which is a file."""
    assert {name for name, parser in PARSERS.items() if parser.allow_abbrev} == set()


@pytest.mark.usefixtures("commands")
def test_without_a_server_no_demo_is_suggested(capsys: Captured) -> None:
    cli.main(["--help"])
    shown = capsys.readouterr().out
    hint = f"needs no_such_package_here: {install_hint('server')}"
    assert f"  serve      {hint}\n" in shown
    assert f"  demo       {hint}\n" in shown
    assert "generate ws://host:port 'a yellow balloon over the sea'" in shown
    assert "demo 'a" not in shown


def test_the_installed_command_knows_its_subcommands(capsys: Captured) -> None:
    cli.main(["--help"])
    shown = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in shown if line.startswith("  ")]
    assert listed[:7] == ["demo", "serve", "generate", "watch", "replay", "grids", "models"]
    assert "bench" in listed
