"""Our exceptions: they survive pickle and copy, and show no secret."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import rowcast
import rowcast_bench
import rowcast_export
import rowcast_server
from rowcast.errors import RequestRefused, RowcastError
from rowcast.events import PictureAccepted, PictureDone, RowsArrived
from rowcast.messages import DoneReason
from rowcast.picture import Picture, Recipe, Sampling
from rowcast.pixels.network import redacted

PACKAGES = (rowcast, rowcast_server, rowcast_export, rowcast_bench)
WAYS: dict[str, Callable[[RowcastError], RowcastError]] = {
    **{
        f"pickle {protocol}": lambda error, protocol=protocol: pickle.loads(  # type: ignore[misc]
            pickle.dumps(error, protocol)
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def kinds(base: type[RowcastError] = RowcastError) -> Iterator[type[RowcastError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


def every_kind() -> list[type[RowcastError]]:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found = sorted(set(kinds()), key=lambda kind: (kind.__module__, kind.__qualname__))
    return [kind for kind in found if kind.__module__.split(".")[0].startswith("rowcast")]


def picture() -> Picture:
    sampling = Sampling(1.0, 64, 1.0, 4.0)
    made = Picture(Recipe("tiny", bytes(8), "a house", 1, 0, sampling, 4, 4, 2, None))
    made.add_rows(0, bytes(range(16)))
    return made


def made(kind: type[RowcastError]) -> RowcastError:
    """An error of this kind, by its own constructor, with a picture."""
    arguments: list[object] = ["words"]
    if inspect.isfunction(kind.__init__):  # of its own
        values = {"int": 7, "int | None": 7, "float": 7.0, "CloseCode": 4400}
        named = list(inspect.signature(kind.__init__).parameters.values())[1:]
        arguments = [values.get(str(each.annotation), "words") for each in named]
    error = kind(*arguments)
    error.pictures = (picture(),)
    error.add_note("a note")
    return error


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", every_kind(), ids=lambda kind: kind.__qualname__)
def test_every_error_survives_with_its_attributes_and_pictures(
    kind: type[RowcastError], way: str
) -> None:
    error = made(kind)
    again = WAYS[way](error)
    assert type(again) is kind
    assert again is not error
    assert (str(again), again.args) == (str(error), error.args)
    assert vars(again).keys() == vars(error).keys() >= {"pictures", "__notes__"}
    for name, value in vars(error).items():
        if name != "pictures":
            assert vars(again)[name] == value
    (held,) = again.pictures
    assert held.recipe == error.pictures[0].recipe
    assert np.array_equal(held.grid, error.pictures[0].grid)


def test_the_kinds_of_all_packages_are_found() -> None:
    packages = {kind.__module__.split(".")[0] for kind in every_kind()}
    assert packages >= {"rowcast", "rowcast_server", "rowcast_export"}
    assert RequestRefused in every_kind()


def refuse(text: str) -> None:
    raise RequestRefused("busy", text, 2_000)


def test_a_pool_of_processes_goes_on_after_an_error() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for text in ("later", "later still"):
            with pytest.raises(RequestRefused, match=text) as caught:
                pool.submit(refuse, text).result(60)
            assert (caught.value.code, caught.value.retry_seconds) == ("busy", 2.0)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ws://127.0.0.1:8765", "ws://127.0.0.1:8765"),
        ("ws://alice:s3cret@host:1/a", "ws://***@host:1/a"),
        ("wss://s3cret@host", "wss://***@host"),
        ("alice:s3cret@host:8765", "***@host:8765"),
        ("//alice:s3cret@host", "//***@host"),
        ("ws://alice:s3/cr@et@host", "ws://***@host"),
        ("ws://alice:s3?cret@host", "ws://***@host"),
        ("ws://alice:s3\ncret@[::1", "ws://***@[::1"),
        ("https://host/file?token=s3cret", "https://host/file?***"),
        ("https://host/file#s3cret", "https://host/file#***"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown


# What is printed of events


def test_an_event_prints_as_a_line_without_its_grid() -> None:
    drawn = picture()
    events = [
        PictureAccepted(0, drawn, 3),
        RowsArrived(1, drawn, 0, drawn.grid, tier="palette"),
        PictureDone(2, drawn, DoneReason.DEADLINE),
    ]
    assert [str(event) for event in events] == [
        "PictureAccepted(prompt='a house', seed=1, rows_held='2/4', index=0, position=3)",
        "RowsArrived(prompt='a house', seed=1, rows_held='2/4', index=1, tier='palette', "
        "first_row=0)",
        "PictureDone(prompt='a house', seed=1, rows_held='2/4', index=2, reason=deadline)",
    ]
    assert [repr(event) for event in events] == [str(event) for event in events]
    assert len(repr(drawn)) < 400


def test_a_reason_prints_as_its_name() -> None:
    assert [f"{reason}" for reason in DoneReason] == [
        "complete",
        "stop_row",
        "cancelled",
        "deadline",
        "left",
    ]
    assert str(DoneReason.STOP_ROW) == "stop_row"
    assert int(DoneReason.STOP_ROW) == 1


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert rowcast.__version__ == version("rowcast")
    assert "__version__" in dir(rowcast)
