"""README.md and the other documents: their commands, snippets, links and options are right."""

from __future__ import annotations

import argparse
import ast
import asyncio
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NoReturn

import pytest
import rowcast
import rowcast.sync
from IPython.display import DisplayHandle
from rowcast.cli import GROUP, main
from rowcast.errors import RowcastError
from rowcast_server.placement import Placement

from tests.support.servers import running_server
from tests.support.tiny_model import tiny_model
from tools.make_figures import BLOCK, BLOCKS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "training").glob("*.md")]
)
# All but those that tell what was: an option that went may stand there.
OF_TODAY = [path for path in DOCUMENTS if path.parent.name != "decisions"]
README, COMMAND_LINE = ROOT / "README.md", ROOT / "docs/command-line.md"
FOLDERS = ("client_py", "server", "vqgan_export", "bench", "training", "docs", "tools", "tests")
FILES = [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
THEIRS = {"image_from_text.py"}  # min-dalle's
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVER_URL = "ws://127.0.0.1:8765"  # as the documents write it
COMMANDS: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fences(path: Path, *languages: str) -> list[str]:
    """The code blocks of a document in these languages."""
    return [code for kind, code in FENCE.findall(path.read_text("utf-8")) if kind in languages]


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return FENCE.sub("", path.read_text("utf-8"))


def spans(path: Path) -> list[str]:
    """The code within a document's sentences and tables."""
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(path))]


def shell_lines(path: Path) -> list[str]:
    """The command lines of a document, joined; no comments, variables and redirections."""
    lines = []
    for block in fences(path, "", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if re.match(r"[A-Z_]*=?\w", line) else []
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            lines.append(shlex.join(words[: words.index(">")] if ">" in words else words))
    return lines


LINES = [(path, line) for path in DOCUMENTS for line in shell_lines(path)]
OF_TABLES = [  # whole command lines in a table's cells
    (path, code)
    for path in DOCUMENTS
    for code in spans(path)
    if path.name == "from-min-dalle.md" and re.match(r"rowcast (serve|generate) .", code)
]
OURS = sorted({line for _, line in [*LINES, *OF_TABLES] if line.startswith("rowcast ")})
SNIPPETS = [
    pytest.param(code, id=f"{named(path)}-{number}")
    for path in DOCUMENTS
    for number, code in enumerate(fences(path, "python"), 1)
]


def test_the_readme_is_short_and_begins_with_the_demo_and_the_tests() -> None:
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 130
    assert [line for line in lines if len(line) > 130] == []
    assert [line.split("#")[0].strip() for line in shell_lines(README)[:2]] == [
        "make demo",
        "make test",
    ]


# Commands


class Parsed(Exception):
    """A command's parser, before it has parsed anything."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def parsers(name: str) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command, by its name, those of its subcommands with theirs."""

    def parse(parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        raise Parsed(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(argparse.ArgumentParser, "parse_intermixed_args", parse)
        with pytest.raises(Parsed) as caught:
            COMMANDS[name].load()([])
    found = {name: caught.value.parser}
    for action in caught.value.parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = {f"{name} {each}": parser for each, parser in action.choices.items()}
    return found


PARSERS = {name: parser for command in COMMANDS for name, parser in parsers(command).items()}


def options_of(name: str) -> set[str]:
    """The option strings of a command; a positional argument as its metavar in capitals."""
    found: set[str] = set()
    for action in PARSERS[name]._actions:
        if not isinstance(action, argparse._HelpAction):
            found |= set(action.option_strings) or {str(action.metavar or action.dest).upper()}
    return found


@pytest.mark.parametrize("line", OURS)
def test_a_command_line_is_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to where a server would be reached, a model loaded, or a file read."""
    reached: list[Any] = []

    def reach(*arguments: Any, **_: Any) -> NoReturn:
        reached.append(arguments)
        raise RowcastError("far enough")

    def place_all(devices: str, *_: Any) -> tuple[Placement, ...]:  # no GPU is needed to read it
        return tuple(Placement(each, "bfloat16") for each in devices.split(","))

    for place in (
        "rowcast.terminal.commands.draw",
        "rowcast.terminal.commands.draw_grids",
        "rowcast.terminal.commands.load_rows",
        "rowcast.terminal.commands.read_prompts",
        "rowcast.terminal.watch_link.draw",
        "rowcast.terminal.show_models.connect",
        "rowcast.terminal.show_running.connect",
        "rowcast.terminal.doctor.examine",
        "rowcast.terminal.cache_files.cache_entries",
        "rowcast.terminal.completion.whole_parser",
        "rowcast.terminal.demo.local_server",
        "rowcast.preparing.command.Preparation",
        "rowcast.openai_gateway.command._serve",
        "rowcast_server.convert.find",
        *(f"rowcast_server.token_command.{each}" for each in ("read_secrets", "write_secret")),
        "rowcast_server.gateway.sockets.bind",
        "rowcast_server.serve_options._settings_of",
        "rowcast_export.cli._run",
        "rowcast_bench.cli.describe",
    ):
        monkeypatch.setattr(place, reach)
    if "--device cuda" in line:
        monkeypatch.setattr("rowcast_server.serve_options.place_all", place_all)
    main(shlex.split(line)[1:])
    assert len(reached) == 1


def test_the_commands_of_the_documents_are_found() -> None:
    assert {line.split()[1] for line in OURS} == COMMANDS.keys()


@pytest.mark.parametrize("path", OF_TODAY, ids=named)
def test_a_command_that_a_sentence_names_exists_with_its_options(path: Path) -> None:
    for span in spans(path):
        words = span.split()
        if words[0] != "rowcast" or len(words) == 1 or span == "rowcast view":  # bytes of R-31
            continue
        if words[1].isalpha() and words[1].islower() and words[1:] != ["bench"]:
            name = " ".join(words[1:3]) if words[1] == "bench" else words[1]
            assert name in PARSERS, span
            known = options_of(name)
            assert {word for word in words if word.startswith("--")} <= known, span


def test_other_commands_of_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    seen = set()
    for path in DOCUMENTS:
        for code in [*shell_lines(path), *spans(path)]:
            words = shlex.split(code) if code.startswith(("make ", "python ", "pip ")) else [""]
            match words:
                case ["make", target, *_]:
                    assert target in targets, code
                case ["python", "-m", module, *_] if module.startswith("training."):
                    assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), code
                case ["python", script, *_] if "/" in script:
                    assert (ROOT / script).is_file(), code
                case ["pip", "install", *what]:
                    for group in re.findall(r"\[([\w,]+)\]", " ".join(what)):
                        assert set(group.split(",")) <= extras, code
                case _:
                    continue
            seen.add(words[0])
    assert seen == {"make", "python", "pip"}


# Options and settings


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[1]


def first_cells(text: str) -> set[str]:
    """The code in the first cells of all tables, without what an option takes."""
    cells = re.findall(r"^\| (`[^|]+?`) \|", text, re.MULTILINE)
    return {code.split()[0] for cell in cells for code in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize("name", PARSERS)
def test_every_option_of_a_command_is_documented_and_no_other(name: str) -> None:
    text = COMMAND_LINE.read_text("utf-8")
    written = first_cells(section(text, f"rowcast {name}"))
    if name in ("generate", "grids", "models", "ps", "openai"):
        written |= first_cells(section(text, "Servers"))
    if name in ("generate", "grids"):
        written |= first_cells(section(text, "Prompts"))
    if name in ("demo", "generate", "grids"):
        written |= first_cells(section(text, "Sampling"))
    if name in ("demo", "generate"):
        written |= first_cells(section(text, "Pictures"))
    assert written == options_of(name)


# Snippets


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tiny_model(tmp_path_factory.mktemp("documents"), codebook_size=512)
    with running_server(folder) as server:
        yield server.ws_url


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_runs(
    snippet: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a program, or as a cell of a notebook, which may await."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: DisplayHandle())
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(snippet.replace(SERVER_URL, url), "snippet", "exec", flags)
    result = eval(code, {"__name__": "__main__"})
    if inspect.iscoroutine(result):
        asyncio.run(result)


def test_every_public_name_is_in_the_reference() -> None:
    reference = (ROOT / "docs/reference.md").read_text("utf-8")
    names = set(re.findall(r"^::: rowcast\.([\w.]+)$", reference, re.MULTILINE))
    others = {"sync.connect", "requests.RequestOptions", "errors", "notebook"}
    assert names == {*rowcast.__all__} - {"connect_sync"} | others
    assert rowcast.connect_sync is rowcast.sync.connect


# Figures


def test_blocks_of_figures_are_known_and_say_the_same_everywhere() -> None:
    written: dict[str, set[str]] = {}
    for path in DOCUMENTS:
        for match in BLOCK.finditer(path.read_text("utf-8")):
            written.setdefault(match[1], set()).add(match[2])
    assert written.keys() == BLOCKS.keys()
    assert {name: len(contents) for name, contents in written.items()} == dict.fromkeys(written, 1)
    assert all(contents != {""} for contents in written.values())


# Links


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as code hosts and the site make them."""
    found: dict[str, int] = {}
    result = set()
    for title in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = found[slug] = found.get(slug, -1) + 1
        result.add(f"{slug}-{count}" if count else slug)
    return result


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_a_link_goes_to_something(path: Path) -> None:
    text = re.sub(r"`[^`]*`", "", prose(path))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"(https?|mailto):", target):
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        assert place.exists(), target
        if anchor:
            assert anchor in anchors(place), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_a_file_that_a_sentence_names_exists(path: Path) -> None:
    """By the end of its path: ``session.py`` is any."""
    for span in spans(path):
        if re.fullmatch(r"[\w/*.-]+\.(py|md)", span) and span not in THEIRS:
            assert any(file.match(span) for file in FILES), span


def test_every_document_is_linked_from_another() -> None:
    linked = set()
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", prose(path)):
            linked.add((path.parent / target).resolve())
    orphans = [named(path) for path in DOCUMENTS if path.resolve() not in linked]
    assert orphans == []


def test_words_of_the_glossary_are_in_order() -> None:
    words = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/glossary.md").read_text("utf-8"), re.M)[2:]
    assert len(words) >= 40
    assert words == sorted(words, key=str.lower)
