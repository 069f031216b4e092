"""docs/from-min-dalle.md: its calls exist in min-dalle, ours do what is said."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rowcast
import rowcast.notebook
from PIL import Image
from rowcast.requests import RequestOptions

from tests.support.servers import running_server
from tests.support.tiny_model import tiny_model

SECTION = (Path(__file__).parents[1] / "docs/from-min-dalle.md").read_text("utf-8")
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in SECTION.splitlines()
    if line.startswith("| `")
]
SCRIPT_FLAGS = {  # of image_from_text.py, which its package does not hold
    "--mega",
    "--no-mega",
    "--text",
    "--seed",
    "--grid-size",
    "--image-path",
    "--models-root",
}
SIDE = 16  # pixels of a picture of the tiny model


def code(column: int) -> list[str]:
    """All code of a column, in order."""
    return [span for row in ROWS for span in re.findall(r"`([^`]+)`", row[column])]


THEIR_CALLS = [span for span in code(0) if not span.startswith("python ")]
THEIR_COMMANDS = [span for span in code(0) if span.startswith("python ")]
OUR_PYTHON = [span for span in code(1) if re.match(r"(rowcast\.|client\.|\[|for )", span)]


def test_the_one_exception_to_equal_numbers_is_told() -> None:
    """It is shown by `tests/server/network/test_min_dalle.py`."""
    text = " ".join(SECTION.split())
    assert "One exception: of a prompt over 64 tokens" in text
    assert "Its empty text is `<s> </s>` here" in text


def test_every_call_that_min_dalle_has_is_in_the_table() -> None:
    assert len(ROWS) == SECTION.count("\n| ") - 1  # all but the header
    assert THEIR_COMMANDS
    assert {call.partition("(")[0] for call in THEIR_CALLS} == {
        "MinDalle",
        "generate_image",
        "generate_images",
        "generate_image_stream",
        "generate_images_stream",
        "generate_raw_image_stream",
    }


# Theirs, by the source of the installed package: importing it switches gradients off


def their_parameters(name: str) -> dict[str, str | None]:
    """Parameters of a method of MinDalle with their defaults as written; None: has none."""
    spec = importlib.util.find_spec("min_dalle")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    source = Path(spec.submodule_search_locations[0], "min_dalle.py").read_text("utf-8")
    (function,) = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    names = [each.arg for each in function.args.args][1:]
    defaults = [ast.unparse(each) for each in function.args.defaults]
    return dict.fromkeys(names[: len(names) - len(defaults)]) | dict(
        zip(names[len(names) - len(defaults) :], defaults, strict=True)
    )


@pytest.mark.parametrize("call", THEIR_CALLS)
def test_their_calls_are_as_the_package_has_them(call: str) -> None:
    (statement,) = ast.parse(call).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    method = call.partition("(")[0]
    if method == "MinDalle":
        parameters = their_parameters("__init__")
    else:
        their_parameters(method)  # it is there
        parameters = their_parameters("generate_raw_image_stream")  # the others pass all on to it
        assert [ast.unparse(each) for each in statement.value.args] == list(parameters)[:2]
    assert {str(each.arg) for each in statement.value.keywords} <= parameters.keys()


def test_the_defaults_that_are_told_are_theirs() -> None:
    own, drawing = their_parameters("__init__"), their_parameters("generate_raw_image_stream")
    (factory,) = (call for call in THEIR_CALLS if "is_reusable" in call)
    (sampling,) = (call for call in THEIR_CALLS if "supercondition_factor" in call)
    for call, parameters in ((factory, own), (sampling, drawing)):
        (statement,) = ast.parse(call).body
        assert isinstance(statement, ast.Expr)
        assert isinstance(statement.value, ast.Call)
        for each in statement.value.keywords:
            if each.arg != "grid_size":
                assert ast.unparse(each.value) == parameters[str(each.arg)]
    assert THEIR_CALLS[0] == f"MinDalle(models_root={own['models_root']}, is_mega=True)".replace(
        "'", '"'
    )
    assert own["is_mega"] == "True"
    assert "temperature 1, top_k 256, guidance 16" in SECTION
    assert drawing["seed"] is None


@pytest.mark.parametrize("command", THEIR_COMMANDS)
def test_their_script_knows_its_flags(command: str) -> None:
    words = shlex.split(command)
    assert words[1] == "image_from_text.py"
    assert {word for word in words if word.startswith("--")} <= SCRIPT_FLAGS


# Ours, run


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rowcast.SyncClient]:
    folder = tiny_model(tmp_path_factory.mktemp("wide"), codebook_size=512)  # top_k=256 fits
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROWCAST_CACHE", str(folder / "cache"))
        with running_server(folder) as server, rowcast.connect_sync(server.ws_url) as client:
            yield client


class Shown(list[Any]):
    """What `show` was called with; the last image or pixels are the result of a snippet."""

    def __call__(self, *arguments: Any) -> None:
        self.append(arguments[-1])


@pytest.mark.parametrize("snippet", OUR_PYTHON)
def test_our_snippets_run(snippet: str, client: rowcast.SyncClient) -> None:
    show = Shown()
    names = {"rowcast": rowcast, "client": client, "np": np, "show": show}
    names |= {"text": "a red boat", "seed": 7}
    if snippet.startswith("for "):
        exec(snippet, names)
        result: Any = show[-1] if show else names["pixels"]
    else:
        result = eval(snippet, names)
    if "connect_sync" in snippet:
        assert isinstance(result, rowcast.SyncClient)
    elif snippet.startswith("["):
        assert [image.size for image in result] == [(SIDE, SIDE)] * 9
    elif "np.asarray" in snippet:
        assert isinstance(result, np.ndarray)
        assert result.shape == (SIDE, SIDE, 3)
    else:
        assert isinstance(result, Image.Image)
        images = int((re.findall(r"images=(\d+)", snippet) or ["1"])[0])
        across = round(images**0.5) if "seamless" in snippet or "sheet" in snippet else 1
        gaps = (across - 1) * rowcast.notebook.GAP_PIXELS if "sheet" in snippet else 0
        assert result.size == (across * SIDE + gaps, across * SIDE + gaps)


def test_every_option_of_ours_that_is_named_exists() -> None:
    """Also in the text around the table."""
    named = {
        str(each.arg)
        for snippet in OUR_PYTHON
        for node in ast.walk(ast.parse(snippet))
        if isinstance(node, ast.Call)
        for each in node.keywords
    }
    assert {"seed", "temperature", "top_k", "guidance"} <= named
    assert named - RequestOptions.__annotations__.keys() == {"images", "seamless"}
