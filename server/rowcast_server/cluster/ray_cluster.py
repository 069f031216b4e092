"""The cluster by Ray: its replicas are a deployment of Ray Serve, its directory is an actor.

The one module that imports ray. WebSockets end at our gateway, not at Serve's proxies, which are
not started.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before ray is imported
os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from rowcast.errors import RowcastError

from ..bridge import Fleet
from ..config import ServerConfig
from ..models.loading import load
from ..models.revision import revision_in
from ..runners import make_fleet
from .crossing import Item, Job
from .directory import Beat, Change, Directory, News, Shared
from .others import ClusterError, Others
from .remote import RemoteEngines
from .replica import Replica
from .seam import Name

Say = Callable[[str], None]
LOCAL: Final = "local"
NAMESPACE: Final = "rowcast"
REPORT_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.3
SAY_SECONDS: Final = 5.0  # between words while replicas start
HEALTH_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Application:
    """What is deployed: engines of one revision, so that no picture is of two."""

    model: str  # as of --model
    start_token: int | None
    revision: str
    config: ServerConfig  # what an engine needs of it: no tokens, no files

    @property
    def name(self) -> str:
        return f"rowcast-{self.revision}"

    @property
    def directory(self) -> str:
        return f"directory-of-{self.name}"

    def engines(self) -> Fleet:
        """Load them. Raises RowcastError."""
        model = load(self.model, self.start_token)
        revision = revision_in(self.config.placements[0].variant, model.revision).hex()
        if revision != self.revision:
            raise RowcastError(
                f"--model {self.model} is of revision {revision} on this machine, and "
                f"{self.revision} at the gateway: pictures of two revisions do not mix"
            )
        return make_fleet(model, self.config)


def join(
    address: str,
    application: Application,
    replicas: int | None,
    gpus: float,
    say: Say,
) -> RemoteEngines:
    """Join a Ray cluster, or start one in this machine (`local`), and have its replicas.

    Where the application is there already, ``replicas`` None takes as many as there are. Returns
    once one replica draws. Raises RowcastError.
    """
    config = application.config
    local_cpus = max(os.cpu_count() or 1, (replicas or 1) * config.threads)
    _connect(address, local_cpus)
    directory = (
        ray.remote(_DirectoryActor)
        .options(
            name=application.directory,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_concurrency=10_000,
            num_cpus=0,
        )
        .remote(config.grace, config.keep)
    )
    handle = _deployed(application, replicas, gpus, say)
    others = Others(_RayDirectory(directory), f"{os.uname().nodename}-{secrets.token_hex(4)}")
    return RemoteEngines(_Draw(handle), others)


def _connect(address: str, local_cpus: int) -> None:
    if ray.is_initialized():
        return  # by another server of this process
    logging.getLogger("ray").setLevel(logging.WARNING)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # what is lost is told by us
    _check(address)
    where: dict[str, Any] = {"address": address}
    if address == LOCAL:
        where |= {"num_cpus": local_cpus, "include_dashboard": False}
    try:
        ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=logging.WARNING, **where)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RowcastError(
            f"--cluster {address}: {_first_line(error)}; is it the address of a Ray cluster "
            "(`ray start --head` prints it), with this version of Python and Ray?"
        ) from error


def _check(address: str) -> None:
    """Raise RowcastError where nobody listens at host:port: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RowcastError(
            f"--cluster {address}: {error}; `ray start --head` prints the address of a cluster"
        ) from error


def _deployed(
    application: Application, replicas: int | None, gpus: float, say: Say
) -> DeploymentHandle[Any]:
    """The replicas' handle, once one draws."""
    config = application.config
    known = serve.status().applications.get(application.name)
    if known is None or replicas is not None:
        serve.start(proxy_location="Disabled")
        slots, places = config.slots, config.queue_limit
        deployment = serve.deployment(
            name="replica",
            num_replicas=replicas or 1,
            max_ongoing_requests=slots + places,
            graceful_shutdown_timeout_s=config.drain,
            graceful_shutdown_wait_loop_s=min(0.5, config.drain),
            health_check_period_s=HEALTH_SECONDS,
            health_check_timeout_s=5 * HEALTH_SECONDS,
            ray_actor_options={"num_cpus": 1 if gpus else config.threads, "num_gpus": gpus},
        )(_ReplicaActor)
        target = serve.RunTarget(
            target=deployment.bind(application), name=application.name, route_prefix=None
        )
        serve.run_many([target], wait_for_applications_running=False)
    _wait(application, say)
    handle: DeploymentHandle[Any] = serve.get_app_handle(application.name)
    return handle.options(stream=True)


def _wait(application: Application, say: Say) -> None:
    """Wait for the first replica; whoever is not patient presses Ctrl-C."""
    said = time.monotonic()
    while True:
        status = serve.status().applications[application.name]
        deployment = status.deployments.get("replica")
        states: dict[str, int] = {}
        if deployment is not None:
            for state, count in deployment.replica_states.items():
                states[getattr(state, "value", state)] = count
        if states.get("RUNNING", 0) > 0:
            return
        if status.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            why = (deployment.message if deployment is not None else "") or status.message
            raise RowcastError(f"the cluster's replicas do not start: {_last_line(why)}")
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            told = ", ".join(f"{count} {state.lower()}" for state, count in states.items())
            say(f"waiting for a replica ({told or 'none yet'}); `ray status` shows free resources")
        time.sleep(POLL_SECONDS)


class _Draw:
    """Opens the stream of a picture on whichever replica has the fewest."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def __call__(self, job: Job) -> AsyncGenerator[list[Item]]:
        stream: Any = self._handle.draw.remote(job)
        try:
            async for items in stream:
                yield items
        except (RayError, RayServeException) as error:
            raise ClusterError(_first_line(error)) from error
        finally:
            stream.cancel()


class _ReplicaActor:
    """A replica as Ray Serve runs it."""

    async def __init__(self, application: Application) -> None:  # type: ignore[misc]
        fleet = await asyncio.to_thread(application.engines)
        name = serve.get_replica_context().replica_tag
        self._replica = Replica(name, application.revision, fleet)
        self._directory = ray.get_actor(application.directory, NAMESPACE)
        self._reporting = asyncio.create_task(self._report())

    async def draw(self, job: Job) -> AsyncIterator[list[Item]]:
        async for items in self._replica.draw(job):
            yield items

    async def check_health(self) -> None:
        self._replica.check()

    async def _report(self) -> None:
        while True:
            with suppress(RayError):
                await self._directory.report.remote(self._replica.state)
            await asyncio.sleep(REPORT_SECONDS)


class _DirectoryActor(Directory):
    """The directory as an actor: Ray makes one from a class whose methods are asynchronous."""


class _RayDirectory:
    """The directory by calls of an actor (`others.DirectoryLine`)."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def news(self, gateway: str, beat: Beat) -> News:
        news: News = await self._call("news", gateway, beat)
        return news

    async def publish(self, gateway: str, changes: list[Change]) -> None:
        await self._call("publish", gateway, changes)

    async def look_up(self, gateway: str, name: Name) -> tuple[Shared, bool] | None:
        found: tuple[Shared, bool] | None = await self._call("look_up", gateway, name)
        return found

    async def claim(self, gateway: str, name: Name) -> Shared | None:
        claimed: Shared | None = await self._call("claim", gateway, name)
        return claimed

    async def leave(self, gateway: str) -> None:
        await self._call("leave", gateway)

    async def _call(self, method: str, *arguments: object) -> Any:
        try:
            return await getattr(self._actor, method).remote(*arguments)
        except RayError as error:
            raise ClusterError(_first_line(error)) from error


def _last_line(text: str) -> str:
    """What a traceback ends with."""
    return text.strip().rpartition("\n")[2].strip()


def _first_line(error: BaseException) -> str:
    """An error in a line: Ray's have a page."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
