"""Engines of a Ray cluster for servers of the test's own process: each server has a replica."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import ray
from ray import serve
from rowcast_server.bridge import Fleet
from rowcast_server.cluster.ray_cluster import LOCAL, NAMESPACE, Application, join
from rowcast_server.cluster.remote import RemoteEngines
from rowcast_server.config import ServerConfig
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.models.revision import revision_in
from rowcast_server.runners import RunnerFactory, make_fleet

from ..pace import COLS, Gate

SERVERS = 64
numbers = count()


@dataclass(frozen=True)
class OneServers(Application):
    """The application of one server, whose runner a test chose."""

    number: str
    make_runner: RunnerFactory

    @property
    def name(self) -> str:
        return f"test-{self.number}"

    def engines(self) -> Fleet:
        return make_fleet(load(self.model, self.start_token), self.config, self.make_runner)


def start() -> None:
    """The cluster of this process: several servers have replicas at once."""
    if not ray.is_initialized():
        ray.init("local", namespace=NAMESPACE, num_cpus=SERVERS, include_dashboard=False)
        atexit.register(ray.shutdown)


@contextmanager
def ray_engines(
    model: LoadedModel, folder: str, config: ServerConfig, make_runner: RunnerFactory
) -> Iterator[RemoteEngines]:
    """A replica for a server of these settings; it ends with it."""
    revision = revision_in(config.placements[0].variant, model.revision).hex()
    plain = replace(config, tokens=frozenset(), token_file=None, token_secret_file=None)
    number = f"{os.getpid()}-{next(numbers)}"
    application = OneServers(folder, None, revision, plain, number, make_runner)
    start()
    engines = join(LOCAL, application, 1, 0.0, print)
    try:
        yield engines
    finally:
        serve.delete(application.name)
        ray.kill(ray.get_actor(application.directory, NAMESPACE))


class RemoteGate(Gate):
    """A gate in a process of its own, which replicas reach as well."""

    def __init__(self, steps: int) -> None:
        start()
        self._actor: Any = ray.remote(Gate).options(max_concurrency=64, num_cpus=0).remote(steps)

    def allow_steps(self, count: int) -> None:
        ray.get(self._actor.allow_steps.remote(count))

    def allow(self, rows: int) -> None:
        self.allow_steps(rows * COLS)

    def open(self) -> None:
        ray.get(self._actor.open.remote())

    def shut(self) -> None:
        ray.get(self._actor.shut.remote())

    def enter(self) -> None:
        ray.get(self._actor.enter.remote())
