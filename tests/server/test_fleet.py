"""Several engines of one model: pictures go to the emptiest, and are the same on each."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import rowcast
from rowcast_server.bridge import Fleet
from rowcast_server.placement import Placement

from tests.support.servers import running_server


class FakeBridge:
    def __init__(self) -> None:
        self.pictures: list[int] = []

    def submit(self, picture: int, request: object, client: object) -> None:
        self.pictures.append(picture)

    def cancel(self, picture: int) -> None:
        self.pictures.remove(picture)


def test_a_picture_goes_where_the_fewest_are_and_is_cancelled_there() -> None:
    bridges = [FakeBridge(), FakeBridge(), FakeBridge()]
    fleet = Fleet(bridges)  # type: ignore[arg-type]
    for picture in range(7):
        fleet.submit(picture, None, None)  # type: ignore[arg-type]
    assert [len(bridge.pictures) for bridge in bridges] == [3, 2, 2]
    fleet.cancel(3)
    fleet.cancel(0)
    fleet.cancel(99)
    assert [bridge.pictures for bridge in bridges] == [[6], [1, 4], [2, 5]]
    fleet.submit(7, None, None)  # type: ignore[arg-type]
    assert bridges[0].pictures == [6, 7]


@pytest.mark.parametrize("engines", [1, 2])
async def test_pictures_are_the_same_on_one_engine_and_on_two(
    tiny_folder: Path, engines: int
) -> None:
    placements = (Placement(),) * engines
    with running_server(tiny_folder, placements=placements, slots=2, threads=1) as server:
        async with rowcast.connect(server.ws_url, decode=False) as client:
            alone = [
                (await client.pictures("a red house", seed=seed))[0].picture.held_bytes
                for seed in range(5)
            ]
            together = await asyncio.gather(
                *(client.pictures("a red house", seed=seed) for seed in range(5))
            )
    assert [pictures[0].picture.held_bytes for pictures in together] == alone
