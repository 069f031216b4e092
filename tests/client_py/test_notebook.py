"""The notebook display repaints one cell in place."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from PIL import Image
from rowcast.errors import RowcastError
from rowcast.events import PictureAccepted, RowsArrived
from rowcast.notebook import GAP_PIXELS, NotebookDisplay, contact_sheet
from rowcast.picture import Picture, Recipe, Sampling


class Handle:
    def __init__(self) -> None:
        self.shown: list[object] = []

    def update(self, what: object) -> None:
        self.shown.append(what)


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    """IPython's display, as far as it is used."""
    handle, module = Handle(), ModuleType("IPython.display")

    def display(what: object, display_id: bool) -> Handle:
        assert display_id
        handle.update(what)
        return handle

    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return handle


def picture() -> Picture:
    sampling = Sampling(1.0, 64, 1.0, 4.0)
    return Picture(Recipe("tiny", bytes(8), "a house", 1, 0, sampling, 4, 4, 2, None))


def solid(colour: str, side: int = 16) -> Image.Image:
    return Image.new("RGB", (side, side), colour)


def test_one_cell_is_updated_with_every_image(handle: Handle) -> None:
    display = NotebookDisplay(side=32)
    assert handle.shown == ["waiting for the first row …"]
    display.update(PictureAccepted(0, picture(), 0))
    assert len(handle.shown) == 1
    ids = picture().grid
    display.update(RowsArrived(0, picture(), 0, ids, image=solid("red")))
    display.update(RowsArrived(1, picture(), 0, ids, image=solid("blue")))
    first, second = handle.shown[1:]
    assert isinstance(first, Image.Image)
    assert isinstance(second, Image.Image)
    assert first.size == (32, 32)
    assert second.size == (32 + GAP_PIXELS + 32, 32)
    assert second.getpixel((0, 0)) == (255, 0, 0)
    assert second.getpixel((67, 0)) == (0, 0, 255)


def test_a_seamless_request_is_shown_as_one_picture(handle: Handle) -> None:
    display = NotebookDisplay(side=32)
    for index, colour in enumerate(("red", "blue")):
        display.update(
            RowsArrived(index, picture(), 0, picture().grid, image=solid(colour), seamless=True)
        )
    last = handle.shown[-1]
    assert isinstance(last, Image.Image)
    assert (last.size, last.getpixel((0, 0))) == ((32, 32), (0, 0, 255))


def test_outside_a_notebook_the_error_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(RowcastError, match="IPython"):
        NotebookDisplay()


def test_where_ipython_is_installed_and_does_not_run_the_error_says_why() -> None:
    with pytest.raises(RowcastError, match="does not run"):
        NotebookDisplay()


@pytest.mark.parametrize(("count", "grid"), [(1, (1, 1)), (2, (2, 1)), (3, (2, 2)), (5, (3, 2))])
def test_a_sheet_is_as_square_as_it_goes(count: int, grid: tuple[int, int]) -> None:
    sheet = contact_sheet({index: solid("red") for index in range(count)})
    columns, rows = grid
    step = 16 + GAP_PIXELS
    assert sheet.size == (columns * step - GAP_PIXELS, rows * step - GAP_PIXELS)


def test_a_picture_keeps_its_place_while_others_are_missing() -> None:
    sheet = contact_sheet({3: solid("blue")})
    assert sheet.getpixel((30, 30)) == (0, 0, 255)
    assert sheet.getpixel((0, 0)) != (0, 0, 255)
