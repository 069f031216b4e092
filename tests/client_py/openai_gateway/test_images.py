"""`images.generate` of OpenAI's SDK, unchanged, before a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import httpx
import numpy as np
import openai
import pytest
import rowcast
from numpy.typing import NDArray
from openai.types.image_gen_completed_event import ImageGenCompletedEvent
from openai.types.image_gen_partial_image_event import ImageGenPartialImageEvent
from rowcast.openai_gateway import drawing
from rowcast_server.server import RowcastServer

from tests.support.client.openai_calls import PROMPT, gateway, image_in, pixels_in, sdk
from tests.support.pace import Gate, paced_server


async def as_our_client_paints(server: RowcastServer, seed: int) -> list[NDArray[np.uint8]]:
    async with rowcast.connect(server.ws_url) as client:
        ends = await client.pictures(PROMPT, 2, seed=seed)
    return [np.asarray(end.image) for end in ends]


async def test_pictures_are_those_of_our_own_client_to_the_pixel(
    tiny_server: RowcastServer,
) -> None:
    async with sdk(tiny_server.ws_url) as client:
        answer = await client.images.generate(prompt=PROMPT, n=2, extra_body={"seed": 7})
    ours = await as_our_client_paints(tiny_server, 7)
    assert answer.data is not None
    theirs = [pixels_in(image.b64_json) for image in answer.data]
    np.testing.assert_array_equal(theirs, ours)
    assert (ours[0] != ours[1]).any()
    assert [image.model_extra for image in answer.data] == [{"seed": 7}, {"seed": 7}]
    high, wide = ours[0].shape[:2]
    assert (answer.size, answer.output_format) == (f"{wide}x{high}", "png")
    assert answer.usage is not None
    assert answer.usage.output_tokens == 2 * 16


@pytest.mark.parametrize("form", ["jpeg", "webp"])
async def test_formats_and_their_compression(
    tiny_server: RowcastServer, form: Literal["jpeg", "webp"]
) -> None:
    async with sdk(tiny_server.ws_url) as client:
        files = []
        for compression in (5, 95):
            answer = await client.images.generate(
                prompt=PROMPT,
                output_format=form,
                output_compression=compression,
                extra_body={"seed": 7},
            )
            assert answer.data is not None
            files.append(answer.data[0].b64_json)
    assert image_in(files[0]).format == form.upper()
    assert len(files[0] or "") < len(files[1] or "")


async def test_a_stream_shows_the_picture_form(tiny_server: RowcastServer, gate: Gate) -> None:
    """Three previews in order, each of more rows, then the picture of our own client."""
    gate.allow(1)
    seen = []
    async with sdk(tiny_server.ws_url) as client:
        stream = await client.images.generate(
            prompt=PROMPT, stream=True, partial_images=3, size="auto", extra_body={"seed": 7}
        )
        async for event in stream:
            seen.append(event)
            gate.allow(1)
        gate.open()
    ours = await as_our_client_paints(tiny_server, 7)
    *previews, last = seen
    assert [preview.type for preview in previews] == ["image_generation.partial_image"] * 3
    assert [getattr(each, "partial_image_index", None) for each in previews] == [0, 1, 2]
    shown = [pixels_in(preview.b64_json) for preview in previews]
    assert len({image.tobytes() for image in shown}) == 3
    assert isinstance(previews[0], ImageGenPartialImageEvent)
    assert isinstance(last, ImageGenCompletedEvent)
    np.testing.assert_array_equal(pixels_in(last.b64_json), ours[0])
    assert last.usage.output_tokens == 16
    assert last.model_extra == {"seed": 7}


async def test_no_previews_are_sent_where_none_are_asked_for(tiny_server: RowcastServer) -> None:
    async with sdk(tiny_server.ws_url) as client:
        stream = await client.images.generate(prompt=PROMPT, stream=True)
        assert [event.type async for event in stream] == ["image_generation.completed"]


async def test_a_stream_that_is_closed_frees_its_place(tiny_folder: Path) -> None:
    """And a full server is told as the SDK knows it, with the time to come again."""
    with paced_server(tiny_folder, slots=1, queue_limit=0) as (server, gate):
        gate.allow(1)
        async with sdk(server.ws_url) as client:
            stream = await client.images.generate(prompt=PROMPT, stream=True, partial_images=3)
            await anext(stream)
            with pytest.raises(openai.RateLimitError) as caught:
                await client.images.generate(prompt=PROMPT)
            assert caught.value.code == "busy"
            assert caught.value.type == "rate_limit_error"
            assert int(caught.value.response.headers["retry-after"]) >= 1
            await stream.close()
            gate.open()
            async with asyncio.timeout(10):
                while True:
                    try:
                        answer = await client.images.generate(prompt=PROMPT)
                        break
                    except openai.RateLimitError:
                        await asyncio.sleep(0.05)
    assert answer.data is not None


async def test_a_caller_who_hangs_up_before_the_answer_frees_its_place(tiny_folder: Path) -> None:
    with paced_server(tiny_folder, slots=1, queue_limit=0) as (server, gate):

        async def tick() -> None:
            for _ in range(12):  # places change hands between two steps; the first has 15 to go
                await asyncio.sleep(0.25)
                gate.allow_steps(1)

        async with sdk(server.ws_url) as client:
            with pytest.raises(openai.APITimeoutError):
                await client.with_options(timeout=0.5).images.generate(prompt=PROMPT)
            ticking = asyncio.create_task(tick())
            async with asyncio.timeout(20):
                while True:
                    try:
                        stream = await client.images.generate(prompt=PROMPT, stream=True)
                        break
                    except openai.RateLimitError:
                        await asyncio.sleep(0.05)
            assert not ticking.done()
            ticking.cancel()
            gate.open()
            assert [event.type async for event in stream] == ["image_generation.completed"]


async def test_the_sdk_waits_for_a_full_server_by_itself(tiny_folder: Path) -> None:
    with paced_server(tiny_folder, slots=1, queue_limit=0) as (server, gate):
        gate.allow(1)
        async with sdk(server.ws_url, retries=5) as client:
            stream = await client.images.generate(prompt=PROMPT, stream=True, partial_images=3)
            await anext(stream)
            waiting = asyncio.create_task(client.images.generate(prompt=PROMPT))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            gate.open()
            async for _ in stream:
                pass
            assert (await waiting).data


async def test_a_picture_that_ends_early_is_an_error_after_its_previews(tiny_folder: Path) -> None:
    with paced_server(tiny_folder, deadline=1.0) as (server, gate):
        gate.allow(1)
        async with sdk(server.ws_url) as client:
            stream = await client.images.generate(prompt=PROMPT, stream=True, partial_images=3)
            event = await anext(stream)
            assert event.type == "image_generation.partial_image"
            await asyncio.sleep(1.2)
            gate.allow_steps(1)  # a deadline is seen between two steps
            with pytest.raises(openai.APIError, match="deadline"):
                await anext(stream)


async def test_tokens_are_api_keys(tiny_folder: Path) -> None:
    with paced_server(tiny_folder, tokens=frozenset({"ours"})) as (server, gate):
        gate.open()
        async with sdk(server.ws_url, "theirs") as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                await client.images.generate(prompt=PROMPT)
            assert caught.value.code == "invalid_api_key"
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        async with sdk(server.ws_url, "ours") as client:
            assert (await client.images.generate(prompt=PROMPT)).data
        async with gateway(server.ws_url, token="ours") as url, httpx.AsyncClient() as anybody:
            answer = await anybody.post(f"{url}/images/generations", json={"prompt": PROMPT})
            assert answer.status_code == 200


async def test_a_server_out_of_reach_is_told_and_tried_again() -> None:
    async with sdk("ws://127.0.0.1:9") as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.images.generate(prompt=PROMPT)
    assert caught.value.status_code == 503
    assert "ws://127.0.0.1:9" in str(caught.value)
    assert caught.value.response.headers["retry-after"] == "5"


async def test_pings_keep_a_stream_open_while_nothing_is_drawn(
    tiny_server: RowcastServer, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "PING_SECONDS", 0.05)
    body = {"prompt": PROMPT, "stream": True}
    async with (
        gateway(tiny_server.ws_url) as url,
        httpx.AsyncClient() as caller,
        caller.stream("POST", f"{url}/images/generations", json=body) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        pings = 0
        async for line in answer.aiter_lines():
            if line:
                assert line == ": ping"
                pings += 1
            if pings == 4:
                break


async def test_models_are_listed(tiny_server: RowcastServer) -> None:
    async with sdk(tiny_server.ws_url) as client:
        (model,) = (await client.models.list()).data
        assert await client.models.retrieve(model.id) == model
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("dall-e-3")
    assert caught.value.code == "model_not_found"
