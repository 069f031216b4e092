"""How a picture is, over HTTP: the same as over a WebSocket, under the same rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from rowcast.messages import DoneReason, view_key
from rowcast.rows_file import decode_picture
from rowcast_server.access import Access, sign_token
from rowcast_server.cluster.seam import ReplicaState

from tests.support.fakes import KEY, MODEL, WHOLE, Studio, ids_of, open_gateway
from tests.support.web import assert_shared

VIEW = view_key(KEY)
STATE = f"/pictures/{VIEW.hex()}/0"


@asynccontextmanager
async def opened(
    access: Access | None = None, **settings: Any
) -> AsyncIterator[tuple[Studio, httpx.AsyncClient]]:
    studio = Studio(loop=asyncio.get_running_loop(), access=access)
    async with (
        open_gateway(studio, **settings) as (_, url),
        httpx.AsyncClient(base_url=url.replace("ws", "http"), trust_env=False) as http,
    ):
        yield studio, http


async def state_of(http: httpx.AsyncClient, path: str = STATE) -> dict[str, Any]:
    response = await http.get(path)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    assert response.headers["Cache-Control"] == "no-store"
    assert_shared(response)
    state: dict[str, Any] = response.json()
    return state


async def test_a_picture_is_told_from_its_place_in_the_queue_to_its_end() -> None:
    async with opened() as (studio, http):
        picture = studio.start(stop_row=3)
        waiting = {
            "state": "waiting",
            "rows": 0,
            "position": 0,
            "image": 0,
            "model": "tiny",
            "revision": MODEL.revision.hex(),
            "seed": 7,
            "grid": [4, 4],
            "stop_row": 3,
        }
        assert await state_of(http) == waiting, "not placed yet"
        studio.drawer.place(picture.number, 2)
        assert await state_of(http) == waiting | {"position": 2}
        studio.drawer.place(picture.number)
        assert await state_of(http) == waiting | {"state": "drawing"}
        studio.drawer.draw(picture.number, 2)
        assert await state_of(http) == waiting | {"state": "drawing", "rows": 2}
        studio.drawer.draw(picture.number)
        assert await state_of(http) == waiting | {"state": "stop_row", "rows": 3}


async def test_all_that_is_drawn_is_told_without_names() -> None:
    async with opened() as (studio, http):
        studio.drawer.slots, studio.drawer.places = 3, 7
        idle = {"slots": 3, "places": 7, "drawing": [], "waiting": 0}
        assert await state_of(http, "/pictures") == idle
        replica = ReplicaState("one", "57ee", drawing=1, waiting=0, slots=3, places=7)
        studio.drawer.replicas = (replica,)
        told = await state_of(http, "/pictures")
        assert told == idle | {"replicas": [asdict(replica)]}
        studio.drawer.replicas = ()
        first, second, third = (studio.start(image=image, stop_row=3) for image in range(3))
        studio.drawer.place(third.number, 1)
        assert (await state_of(http, "/pictures"))["waiting"] == 3, "two are not placed yet"
        studio.drawer.place(first.number)
        studio.drawer.place(second.number)
        studio.drawer.draw(second.number, 2)
        told = await state_of(http, "/pictures")
        seconds = [each.pop("seconds") for each in told["drawing"]]
        drawing = [{"rows": 0, "stop_row": 3}, {"rows": 2, "stop_row": 3}]
        assert told == idle | {"drawing": drawing, "waiting": 1}
        assert 0 <= seconds[1] <= seconds[0] < 60
        studio.drawer.draw(first.number, 3)
        for picture in (second, third):
            studio.book.cancel(picture)
        assert await state_of(http, "/pictures") == idle


async def test_every_end_has_its_word() -> None:
    async with opened() as (studio, http):
        pictures = [studio.start(image=image) for image in range(4)]
        studio.drawer.draw(pictures[0].number, 4)
        studio.drawer.fail(pictures[1].number, "at /secret/path")
        studio.book.cancel(pictures[2])
        studio.book.cancel(pictures[3], DoneReason.DEADLINE)
        for image, word in enumerate(("complete", "failed", "cancelled", "deadline")):
            state = await state_of(http, f"/pictures/{VIEW.hex()}/{image}")
            assert (state["state"], state["image"], state["position"]) == (word, image, 0)
            assert "secret" not in str(state)


async def test_rows_are_a_file_that_our_own_tools_read() -> None:
    async with opened() as (studio, http):
        number = studio.start().number
        for rows in (0, 2, 4):
            if rows:
                studio.drawer.draw(number, 2)
            response = await http.get(f"{STATE}.rows")
            assert response.status_code == 200
            assert response.headers["Content-Type"] == "application/octet-stream"
            assert response.headers["Cache-Control"] == "no-store"
            assert_shared(response)
            picture = decode_picture(response.content)
            assert picture.held_bytes == ids_of(0, 0, rows)
            assert (picture.recipe.prompt, picture.recipe.seed) == ("", 7), "no prompt (R-102)"
            assert picture.recipe.model == "tiny"
            assert picture.reason == (DoneReason.COMPLETE if rows == 4 else None)
        assert b"a red boat" not in response.content


async def test_image_and_view_key_name_it_as_for_watch() -> None:
    async with opened() as (studio, http):
        for image in (0, 3):
            studio.drawer.draw(studio.start(image=image).number, 1)
        for image in (0, 3):
            response = await http.get(f"/pictures/{VIEW.hex()}/{image}.rows")
            assert decode_picture(response.content).held_bytes == ids_of(image, 0, 1)
        assert (await state_of(http, f"/pictures/{VIEW.hex().upper()}/0"))["rows"] == 1
        head = await http.head(STATE)
        assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        f"/pictures/{KEY.hex()}/0",  # the owner's key is no view key
        f"/pictures/{VIEW.hex()}/1",
        f"/pictures/{VIEW.hex()}/65536",
        f"/pictures/{VIEW.hex()}/99999",
        f"/pictures/{VIEW.hex()}/100000",
        f"/pictures/{VIEW.hex()}/-1",
        f"/pictures/{VIEW.hex()}/x",
        f"/pictures/{VIEW.hex()}/%D9%A0",  # a digit, of Arabic
        f"/pictures/{VIEW.hex()}/",
        f"/pictures/{VIEW.hex()}",
        f"/pictures/{VIEW.hex()}/0.png",
        f"/pictures/{VIEW.hex()[:-2]}/0",
        f"/pictures/{VIEW.hex()[:-1]}/0",
        f"/pictures/{VIEW.hex()}00/0",
        f"/pictures/{'g' * 32}/0",
        "/pictures//0",
        "/pictures/../0",
    ],
)
@pytest.mark.parametrize("suffix", ["", ".rows"])
async def test_what_there_is_not_is_404(path: str, suffix: str) -> None:
    async with opened() as (studio, http):
        studio.start()
        response = await http.get(path + suffix)
        assert response.status_code == 404
        assert_shared(response)


async def test_who_guesses_view_keys_has_to_wait() -> None:
    async with opened(failures_per_minute=2) as (studio, http):
        studio.start()
        for number in range(8):  # four minutes' worth
            assert (await http.get(f"/pictures/{number:032x}/0")).status_code == 404
        response = await http.get(f"/pictures/{9:032x}/0")
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "30"
        assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]
        assert_shared(response)
        studio.clock.advance(60)
        assert (await http.get(f"/pictures/{9:032x}/0")).status_code == 404


async def test_where_tokens_are_asked_for_so_they_are_here() -> None:
    async with opened(tokens=frozenset({"s3cret"})) as (studio, http):
        studio.drawer.draw(studio.start().number, 4)
        for path in ("/pictures", STATE, f"{STATE}.rows"):
            bare = await http.get(path)
            assert bare.status_code == 401
            assert bare.headers["WWW-Authenticate"] == 'Bearer realm="rowcast"'
            assert "s3cret" not in bare.text
            for wrong in ("Bearer wrong", "Bearer s3cret2", "Bearer"):
                response = await http.get(path, headers={"Authorization": wrong})
                assert response.status_code == 401
            response = await http.get(path, headers={"Authorization": "Bearer s3cret"})
            assert response.status_code == 200
        assert decode_picture(response.content).held_bytes == WHOLE


async def test_who_may_draw_alone_may_not_look(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 32)
    async with opened(access=Access((), tmp_path / "secret")) as (studio, http):
        studio.start()
        for rights, status in ((["draw"], 403), (["watch"], 200), ([], 403)):
            token = sign_token(b"s" * 32, "alice", time.time() + 60, rights)
            response = await http.get(STATE, headers={"Authorization": f"Bearer {token}"})
            assert response.status_code == status
            assert_shared(response)


async def test_a_page_may_ask_with_a_token() -> None:
    async with opened() as (_, http):
        response = await http.options(STATE, headers={"Origin": "https://app.example"})
        assert response.status_code == 204
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
