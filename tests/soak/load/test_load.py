"""The load scenarios in small: what does not need a machine for itself."""

from __future__ import annotations

from ..scenario import Figures
from .guesses import guess_keys
from .half_open import leave_open
from .idle import be_idle
from .latency import Jobs
from .loaded import loaded_server
from .memory import SERVER, Load, quiet
from .viewers import RESUMABLE, cut_all
from .wire import Crowd


def missed(figures: Figures) -> list[str]:
    """The figures that miss their bars, short times apart: other tests run beside these."""
    judged = (each for each in figures.figures if each.unit not in ("ms", "%"))
    return [f"{each.what}: {each.value:g}" for each in judged if not each.passes]


def test_idle_connections_take_little_memory() -> None:
    with loaded_server() as server, Crowd(server.url) as crowd:
        assert missed(be_idle(server, crowd, 200, seconds=0.5)) == []


def test_requests_that_never_end_are_closed_in_time() -> None:
    figures = Figures()
    with loaded_server() as server, Crowd(server.url) as crowd:
        leave_open(figures, server, crowd, 40)
    assert missed(figures) == []


def test_viewers_that_are_cut_at_once_lose_no_row() -> None:
    figures = Figures()
    with loaded_server(*RESUMABLE) as server, Crowd(server.url) as crowd:
        cut_all(figures, crowd, Jobs(crowd), 40)
    assert missed(figures) == []


def test_no_key_is_guessed() -> None:
    figures = Figures()
    with loaded_server("--slots=1", "--seconds-a-row=1") as server, Crowd(server.url) as crowd:
        guess_keys(figures, crowd, 600)
    assert missed(figures) == []


def test_nothing_is_left_over_of_clients_of_all_kinds() -> None:
    with loaded_server(*SERVER) as server, Crowd(server.url) as crowd:
        load = Load(crowd)
        load.turn_for(1.0)
        load.leave()
        before = quiet(server, None)
        load.turn_for(4.0)
        load.leave()
        assert quiet(server, before) == before
    assert load.turns > 20
