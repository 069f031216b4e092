"""Pictures in a terminal: true colour where there is one, silence where there is none."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from rowcast.terminal import painting as module
from rowcast.terminal.painting import (
    LARGEST_COLUMNS,
    UPPER_HALF,
    Painting,
    painting,
    writing,
)
from rowcast.terminal.watch import Fetching


def console(columns: int = 80, lines: int = 24, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        color_system="truecolor",
        width=columns,
        height=lines,
        legacy_windows=False,
        _environ={},
    )


def text_of(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def painted(count: int, columns: int = 80, lines: int = 24) -> list[str]:
    """The lines of ``count`` square pictures and a caption, without their colours."""
    shown = console(columns, lines)
    images = {index: Image.new("RGB", (32, 32), "red") for index in range(count)}
    shown.print(Painting(images, "a caption"), end="")
    return re.sub(r"\x1b\[[0-9;]*m", "", text_of(shown)).splitlines()


def test_two_pixels_a_character_in_true_colour() -> None:
    image = Image.new("RGB", (2, 2))
    for place, colour in (
        ((0, 0), (1, 2, 3)),
        ((1, 0), (4, 5, 6)),
        ((0, 1), (7, 8, 9)),
        ((1, 1), (250, 251, 252)),
    ):
        image.putpixel(place, colour)
    shown = console(columns=2)
    shown.print(Painting({0: image}, ""), end="")
    assert text_of(shown).splitlines()[0] == (
        f"\x1b[38;2;1;2;3;48;2;7;8;9m{UPPER_HALF}\x1b[0m"
        f"\x1b[38;2;4;5;6;48;2;250;251;252m{UPPER_HALF}\x1b[0m"
    )


@pytest.mark.parametrize("count", [1, 2, 3, 9, 64])
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 50), (150, 20)])
def test_all_pictures_fit_and_leave_room_below(count: int, columns: int, lines: int) -> None:
    shown = painted(count, columns, lines)
    assert shown[-1] == "a caption"
    assert max(map(len, shown)) <= columns
    assert len(shown) <= max(lines - 3, 1 + count)
    blocks = sum(len(re.findall(rf"{UPPER_HALF}+", line)) for line in shown)
    lines_each = blocks / count
    assert lines_each == int(lines_each) >= 1


def test_a_square_stays_square_and_no_larger_than_it_need_be() -> None:
    shown = painted(1, 300, 100)
    assert [len(line) for line in shown[:-1]] == [LARGEST_COLUMNS] * (LARGEST_COLUMNS // 2)


def test_pictures_side_by_side_are_in_the_order_of_their_numbers() -> None:
    shown = console(columns=80, lines=14)
    images = {1: Image.new("RGB", (8, 8), (0, 0, 9)), 0: Image.new("RGB", (8, 8), (9, 0, 0))}
    shown.print(Painting(images, ""), end="")
    first = text_of(shown).splitlines()[0]
    assert 0 < first.index("38;2;9;0;0") < first.index("38;2;0;0;9")


@pytest.mark.parametrize(
    "caption", ["waiting, place 2 in the queue", "'a house [/b]', seed 5", "'a [bold]house'"]
)
def test_a_caption_comes_before_the_first_picture_and_is_plain_text(caption: str) -> None:
    shown = console()
    shown.print(Painting({}, caption), end="")
    assert text_of(shown) == f"{caption}\n"


def test_nothing_is_painted_where_nobody_looks() -> None:
    pipe = console(terminal=False)
    with painting(pipe) as paint, Fetching(pipe) as update:
        paint({0: Image.new("RGB", (4, 4))}, "a caption")
        update(5, 10)
        update(10, 10)
    assert text_of(pipe) == ""


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_without_colours_nothing_is_painted(variables: dict[str, str]) -> None:
    shown = Console(file=io.StringIO(), force_terminal=True, _environ=variables)
    with painting(shown) as paint:
        paint({0: Image.new("RGB", (4, 4))}, "row 1 of 2")
    assert "▀" not in text_of(shown)


def test_what_takes_long_is_told_in_lines_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    pipe = console(terminal=False)
    with painting(pipe) as paint, Fetching(pipe) as fetching:
        fetching(2_000_000, 6_000_000)
        fetching(6_000_000, 6_000_000)
        paint({}, "waiting, place 2 in the queue")
        paint({0: Image.new("RGB", (4, 4))}, "row 1 of 2 [/b]")
    with writing(pipe) as show:
        show(Path("out/[bold]image-0.gif"))
    assert text_of(pipe).splitlines() == [
        "fetching the detokenizer, 2.0 of 6.0 MB",
        "waiting, place 2 in the queue",
        "row 1 of 2 [/b]",
        "writing out/[bold]image-0.gif",
    ]


def test_a_terminal_shows_the_file_that_is_written() -> None:
    shown = console()
    with writing(shown) as show:
        show("out/[/b]image-0.gif\x1b]0;")
        time.sleep(0.3)
    assert r"writing out/[/b]image-0.gif\x1b]0;" in text_of(shown)
    assert text_of(shown).rindex("\x1b[?25h") > text_of(shown).rindex("\x1b[?25l")


def test_a_narrow_encoding_is_painted_with_coloured_spaces() -> None:
    class Latin(io.StringIO):
        encoding = "latin-1"

    shown = console(columns=10)
    shown.file = Latin()
    image = Image.new("RGB", (2, 2), (1, 2, 3))
    shown.print(Painting({0: image}, "at 2\x1b"), end="")
    *painted_lines, last = text_of(shown).splitlines()
    assert [line.count("48;2;1;2;3m ") for line in painted_lines] == [10] * 5
    assert last == r"at 2\x1b"


def test_the_picture_is_repainted_in_place_and_the_cursor_comes_back() -> None:
    shown = console()
    with painting(shown) as paint:
        for caption in ("row 1 of 2", "row 2 of 2"):
            paint({0: Image.new("RGB", (4, 4))}, caption)
    text = text_of(shown)
    assert "row 2 of 2" in text
    assert text.index("\x1b[?25l") < text.rindex("\x1b[?25h")  # hidden, and shown again


def test_the_cursor_comes_back_after_a_failure() -> None:
    shown = console()
    with pytest.raises(KeyboardInterrupt), painting(shown):
        raise KeyboardInterrupt
    assert text_of(shown).rindex("\x1b[?25h") > text_of(shown).rindex("\x1b[?25l")


def test_a_download_shows_its_progress_and_goes_away() -> None:
    shown = console()
    with Fetching(shown) as update:
        for received in range(0, 101, 10):
            update(received, 100)
    text = text_of(shown)
    assert "detokenizer" in text
    assert text.endswith(("\x1b[2K", "\x1b[?25h", "\r"))
