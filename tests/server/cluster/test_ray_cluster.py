"""A real Ray cluster of this machine, with two gateways before it: replicas and gateways that die,
pictures watched elsewhere, replicas that are taken away."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import pytest
import rowcast
from rowcast.events import Event, PictureDone, RowsArrived
from rowcast.messages import view_key

from tests.soak.server_process import REAL, ServerProcess, server_process
from tests.support.client.clients import PROMPT, ids
from tests.support.client.shells import AsyncShell
from tests.support.clustered.ray_head import RayHead, kill, ray_head
from tests.support.proxy import proxy
from tests.support.tiny_model import tiny_model

pytestmark = pytest.mark.timeout(240)
ROWS = 40
PICTURES = 4


@dataclass
class Cluster:
    """Two gateways of two replicas, and what they are to draw."""

    head: RayHead
    words: tuple[str, ...]
    gateways: list[ServerProcess]
    undisturbed: list[list[list[int]]]

    def states(self, gateway: int = 0) -> list[dict[str, Any]]:
        """What a gateway tells of its replicas."""
        url = f"http{self.gateways[gateway].url.removeprefix('ws')}/pictures"
        with urlopen(url) as answer:
            found: list[dict[str, Any]] = json.load(answer)["replicas"]
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Pictures are of 640 tokens, so that there is time to kill what draws them."""
    folder = tmp_path_factory.mktemp("clustered")
    model = tiny_model(folder, rows=ROWS, cols=16, width=128, decoder_layers=8)
    plain = (*REAL, f"--model={model}", "--threads=1", "--slots=4")
    with server_process(*plain) as alone:
        undisturbed = drawn(alone.url)
    with ExitStack() as stack:
        head = stack.enter_context(ray_head())
        words = (*plain, f"--cluster={head.address}")
        gateways = [
            stack.enter_context(server_process(*words, "--replicas=2")),
            stack.enter_context(server_process(*words)),  # takes those that are there
        ]
        yield Cluster(head, words, gateways, undisturbed)


def drawn(url: str) -> list[list[list[int]]]:
    """The ids of pictures of seed 0."""
    with rowcast.connect_sync(url, decode=False) as client:
        return [ids(end) for end in client.pictures(PROMPT, PICTURES, seed=0)]


def begun(events: Iterator[Event]) -> list[Event]:
    """What is told until every picture has a row."""
    told: list[Event] = []
    while len({event.index for event in told if isinstance(event, RowsArrived)}) < PICTURES:
        told.append(next(events))
    return told


def ends(*parts: Iterable[Event]) -> list[list[list[int]]]:
    """The ids of all pictures, which are drawn to their ends."""
    told = [event for part in parts for event in part if isinstance(event, PictureDone)]
    return [ids(event) for event in sorted(told, key=lambda event: event.index)]


def test_pictures_are_those_of_one_process_at_each_gateway(cluster: Cluster) -> None:
    for number, gateway in enumerate(cluster.gateways):
        assert drawn(gateway.url) == cluster.undisturbed
        states = cluster.states(number)
        assert len({state["name"] for state in states}) == 2
        assert len({state["revision"] for state in states}) == 1
        assert {(state["slots"], state["places"]) for state in states} == {(4, 256)}


def test_a_picture_is_watched_at_another_gateway(cluster: Cluster) -> None:
    here, there = cluster.gateways
    with (
        AsyncShell(here.url, decode=False) as owner,
        AsyncShell(there.url, decode=False) as viewer,
    ):
        events = owner.generate(PROMPT, PICTURES, seed=0)
        told = begun(events)
        key = view_key(owner.session.active[0].key)
        assert ends(viewer.watch(key, PICTURES)) == cluster.undisturbed
        assert ends(told, events) == cluster.undisturbed
        assert ends(viewer.watch(key, PICTURES)) == cluster.undisturbed, "after their end"


def test_pictures_go_on_where_a_replica_was_killed(cluster: Cluster) -> None:
    with AsyncShell(cluster.gateways[0].url, decode=False) as client:
        events = client.generate(PROMPT, PICTURES, seed=0)
        told = begun(events)
        kill(cluster.head.replicas[0])
        assert ends(told, events) == cluster.undisturbed


def test_fewer_replicas_take_what_is_drawn_along(cluster: Cluster) -> None:
    with AsyncShell(cluster.gateways[1].url, decode=False) as client:
        events = client.generate(PROMPT, PICTURES, seed=0)
        told = begun(events)
        with server_process(*cluster.words, "--replicas=1", "--drain=1"):
            assert ends(told, events) == cluster.undisturbed


def test_pictures_go_on_where_a_gateway_was_killed(cluster: Cluster) -> None:
    """The last test of this cluster: one gateway is left."""
    lost, other = cluster.gateways
    with (
        proxy(lost.url) as link,
        AsyncShell(link.url, decode=False) as owner,
        AsyncShell(other.url, decode=False) as viewer,
    ):
        events = owner.generate(PROMPT, PICTURES, seed=0)
        told = begun(events)
        watched = viewer.watch(view_key(owner.session.active[0].key), PICTURES)
        seen = begun(watched)
        link.target = other.url
        lost.kill()
        assert ends(seen, watched) == cluster.undisturbed
        assert ends(told, events) == cluster.undisturbed


@pytest.mark.parametrize(
    ("address", "why"), [("127.0.0.1:1", "refused"), ("nonsense", "Invalid address")]
)
def test_a_cluster_that_is_not_there_is_told(address: str, why: str) -> None:
    words = [sys.executable, "-m", "rowcast", "serve", "--port=0", f"--cluster={address}"]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"--cluster {address}: " in ended.stderr
    assert why in ended.stderr
    assert "ray start --head" in ended.stderr
    assert "Traceback" not in ended.stderr
