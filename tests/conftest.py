"""Fixtures that several folders share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rowcast_server.server import RowcastServer

from tests.support.pace import Gate, paced_server
from tests.support.tiny_model import tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of random weights: 4x4 grids of 96 codes."""
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def shared_server(tiny_folder: Path) -> Iterator[tuple[RowcastServer, Gate]]:
    with paced_server(tiny_folder) as (server, gate):
        gate.open()
        yield server, gate


@pytest.fixture(scope="session")
def tiny_server(shared_server: tuple[RowcastServer, Gate]) -> RowcastServer:
    """A real server of the tiny model, shared by the tests that leave it as it was."""
    return shared_server[0]


@pytest.fixture
def gate(shared_server: tuple[RowcastServer, Gate]) -> Iterator[Gate]:
    """The pace of `tiny_server`, which draws nothing until it is let."""
    _, gate = shared_server
    gate.shut()
    yield gate
    gate.open()


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """torch with one thread: tests share two cores."""
    import torch  # here, as many tests do without

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own cache."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("ROWCAST_CACHE", str(cache))
    return cache
