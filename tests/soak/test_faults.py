"""The soak scenarios in small: links that are cut, and a server that is killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cuts import SERVER, cut_everywhere
from .kills import kill_often
from .multi_cuts import cut_often
from .scenario import Figures
from .server_process import SCRIPTED, ServerProcess, server_process


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with server_process(*SERVER) as server:
        yield server


def missed(figures: Figures) -> list[str]:
    """The figures that miss their bars."""
    return [f"{each.what}: {each.value:g}" for each in figures.figures if not each.passes]


async def test_links_that_are_cut_anywhere_lose_no_row(server: ServerProcess) -> None:
    assert missed(await cut_everywhere(server.url, stride=97)) == []


async def test_links_that_are_cut_again_and_again_lose_no_row(server: ServerProcess) -> None:
    assert missed(await cut_often(server.url, 20)) == []


async def test_pictures_go_on_where_their_server_was_killed() -> None:
    with server_process(*SCRIPTED, "--slots=4", "--seconds-a-row=0.02") as server:
        assert missed(await kill_often(server, kills=1, count=5)) == []
