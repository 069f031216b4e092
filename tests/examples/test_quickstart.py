"""The notebook, run cell by cell in a kernel of its own, against the server that it starts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import rowcast
from nbclient import NotebookClient
from PIL import Image
from rowcast.messages import DoneReason
from rowcast.pixels.artifacts import cached_path
from rowcast.rows_file import load_rows

NOTEBOOK = Path(__file__).parents[2] / "examples/quickstart.ipynb"
SECONDS = 100

Cell = dict[str, Any]


def cells() -> list[Cell]:
    found: list[Cell] = nbformat.read(NOTEBOOK, as_version=4).cells
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebook was run."""
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def run(folder: Path) -> list[Cell]:
    """The code cells with what they put out; a cell that raises fails all."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROWCAST_CACHE", str(folder / "cache"))
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            environment.setenv(name, str(folder / name.lower()))
        NotebookClient(notebook, timeout=SECONDS, resources=resources).execute()
    return [cell for cell in notebook.cells if cell["cell_type"] == "code"]


def output_of(run: list[Cell], code: str) -> list[dict[str, Any]]:
    """What the first cell that contains ``code`` put out."""
    outputs: list[dict[str, Any]] = next(c["outputs"] for c in run if code in c["source"])
    return outputs


def printed(run: list[Cell], code: str) -> str:
    return "".join(each.get("text", "") for each in output_of(run, code))


def test_it_is_shipped_without_outputs() -> None:
    for cell in cells():
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_every_step_is_told_before_it_is_taken() -> None:
    assert cells()[0]["cell_type"] == "markdown"
    for before, cell in itertools.pairwise(cells()):
        if cell["cell_type"] == "code":
            assert before["cell_type"] == "markdown"
            assert len(before["source"]) > 60


@pytest.mark.parametrize("code", ["images=4, seed=7)", "seamless=True"])
def test_pictures_form_in_one_output(run: list[Cell], code: str) -> None:
    displays = [each for each in output_of(run, code) if each["output_type"] == "display_data"]
    assert len(displays) == 1
    assert "image/png" in displays[0]["data"]  # no longer "waiting for the first row …"


def test_what_it_received_is_tokens(run: list[Cell]) -> None:
    told, _, rest = printed(run, "bytes_received").partition(" ")
    assert rest.startswith("bytes received for 4 pictures")
    assert 4 * 16 * 34 < int(told) < 4 * 16 * 45


def test_it_keeps_four_pictures_and_a_time_lapse(run: list[Cell], folder: Path) -> None:
    pictures = [load_rows(folder / f"rowcast-pictures/image-{n}.rows") for n in range(4)]
    assert [picture.reason for picture in pictures] == [DoneReason.COMPLETE] * 4
    assert {picture.recipe.seed for picture in pictures} == {7}
    with Image.open(folder / "rowcast-pictures/forming.gif") as gif:
        assert getattr(gif, "n_frames", 1) == 16
    assert "image-0.rows: " in printed(run, "save_rows")


def test_it_replays_one_and_joins_all(run: list[Cell], folder: Path) -> None:
    told = "'a white house in the snow, three pine trees', seed 7, 16 rows"
    assert told in printed(run, "load_rows")
    assert "image/png" in output_of(run, "final_image(saved")[-1]["data"]
    pictures = [load_rows(folder / f"rowcast-pictures/image-{n}.rows") for n in range(4)]
    sha256 = pictures[0].recipe.detokenizer_sha256
    assert sha256 is not None
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROWCAST_CACHE", str(folder / "cache"))
        detokenizer = rowcast.Detokenizer(cached_path(sha256))
    whole = rowcast.Mosaic.of(pictures, columns=2).paint(detokenizer)
    with Image.open(folder / "rowcast-pictures/mosaic.png") as mosaic:
        assert np.array_equal(np.asarray(mosaic), np.asarray(whole))


def test_it_stops_its_server(run: list[Cell]) -> None:
    assert "the server ended with code 0" in printed(run, "server.wait")
