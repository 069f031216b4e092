"""A Ray cluster of this machine in processes of its own, whose parts a test can kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

START_SECONDS = 60
REPLICA = "ray::ServeReplica"
ENVIRONMENT = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}


class RayHead:
    """`ray start --head` at a port of its own; it ends with `stop`, and can be started again."""

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        self._folder = tempfile.mkdtemp(prefix="r")  # sockets are below: their paths are short
        with (
            socket.create_server(("127.0.0.1", 0)) as one,
            socket.create_server(("127.0.0.1", 0)) as other,
        ):
            self._port, self._clients = (each.getsockname()[1] for each in (one, other))
        self.address = f"127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it, and wait until it can be joined."""
        self._process = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "ray"),
                *("start", "--head", "--block", "--include-dashboard=false"),
                *("--node-ip-address=127.0.0.1", f"--port={self._port}"),
                *(
                    "--min-worker-port=0",
                    "--max-worker-port=0",
                    f"--ray-client-server-port={self._clients}",
                ),
                *(f"--num-cpus={self._cpus}", f"--temp-dir={self._folder}"),
            ],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            up = self._process.poll() is None and time.monotonic() < end
            assert up, "no Ray cluster came up"
            time.sleep(0.1)

    def kill(self) -> None:
        """`kill -9` of all of it."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _processes(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._process.pid)
            return [*root.children(recursive=True), root]
        except psutil.NoSuchProcess:
            return []

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), 1):
                return any("raylet" in name_of(process) for process in self._processes())
        except OSError:
            return False

    @property
    def replicas(self) -> list[psutil.Process]:
        """The processes of replicas, the oldest first."""
        return replicas_below(self._process.pid)


@contextmanager
def ray_head(cpus: int = 4) -> Iterator[RayHead]:
    """A cluster of one machine, said to have so many cores."""
    head = RayHead(cpus)
    try:
        head.start()
        yield head
    finally:
        head.stop()


def replicas_below(pid: int) -> list[psutil.Process]:
    """The replicas among the descendants of a process, the oldest first."""
    found = [
        process
        for process in psutil.Process(pid).children(recursive=True)
        if name_of(process).startswith(REPLICA)
    ]
    return sorted(found, key=lambda process: process.create_time())


def kill(process: psutil.Process) -> None:
    """`kill -9`."""
    os.kill(process.pid, signal.SIGKILL)


def name_of(process: psutil.Process) -> str:
    """The words of a process; empty where it is gone."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
