"""What a picture costs on a real socket, counted there: the claim that the project rests on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec.structs import replace
from rowcast.messages import Welcome

from tests.support.fakes import KEY, LIMITS, MODEL, Studio, open_gateway
from tests.support.raw_client import ACCEPTED, DONE, HELLO, ROWS, START, BareSocket, Frame
from tests.support.servers import running_server
from tests.support.tiny_model import tiny_model

POSTCARD = replace(MODEL, name="postcard", rows=16, cols=16)  # a name as long as the real one's


def frames_of_a_picture(client: BareSocket, stream: int, key: bytes = KEY) -> list[Frame]:
    """Every frame between the client's `start` and the server's `done`."""
    client.send(START, stream, key, "a red house", 1, [None, 2**32 - 1])
    frames = [client.receive_frame()]
    while frames[-1].payload[1] != DONE:  # a fixarray, then the tag
        frames.append(client.receive_frame())
    return frames


async def test_a_row_of_16_ids_is_a_frame_of_40_bytes_and_a_picture_at_most_720() -> None:
    """The dearest case: a reader that keeps up, so that every row travels by itself."""
    studio = Studio(welcome=Welcome(LIMITS, [POSTCARD]), loop=asyncio.get_running_loop())
    async with open_gateway(studio) as (_, url):
        client = await asyncio.to_thread(BareSocket, url)
        with client:
            client.send(HELLO, None, "counting")
            await asyncio.to_thread(client.receive)
            client.send(START, 127, KEY, "a red house", 1, [None, 2**32 - 1])
            studio.drawer.place(await studio.drawer.arrivals.get())
            frames = [await asyncio.to_thread(client.receive_frame)]
            for _ in range(16):
                studio.drawer.draw(0)
                frames.append(await asyncio.to_thread(client.receive_frame))
            frames.append(await asyncio.to_thread(client.receive_frame))
    assert [frame.payload[1] for frame in frames] == [ACCEPTED, *[ROWS] * 16, DONE]
    assert {(len(frame.payload), frame.size) for frame in frames[1:-1]} == {(38, 40)}
    assert sum(frame.size for frame in frames) <= 720


def test_a_whole_server_sends_a_picture_in_at_most_720_bytes_and_nothing_beside_it(
    tmp_path: Path,
) -> None:
    folder = tiny_model(
        tmp_path, rows=16, cols=16, codebook_size=16_384, decoder_layers=1, name="postcard"
    )
    with running_server(folder) as server, BareSocket(server.ws_url) as client:
        client.send(HELLO, None, "counting")
        client.receive()
        alone = frames_of_a_picture(client, 0)
        again = frames_of_a_picture(client, 1)  # attaches, late, to the same picture
    tags = [frame.payload[1] for frame in alone]
    assert tags == [ACCEPTED, *[ROWS] * (len(alone) - 2), DONE]
    assert sum(frame.size for frame in alone) <= 720
    assert all(frame.size <= 40 for frame in alone if len(frame.payload) == 38)
    assert [frame.payload[1] for frame in again] == [ACCEPTED, ROWS, DONE]
    assert again[1].size <= 16 * 32 + 12, "rows that travel together share their header"
