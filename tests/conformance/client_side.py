"""Exchanges with a client under test: the kit is its server, an adapter its user."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from . import frames, values
from .frames import Broken
from .play import Player, message_of
from .scripts import Exchange
from .stage import Link, Stage, Visit
from .values import Failed, NotApplicable
from .world import ANSWERS, WELCOME, ids_of

CLOSE_SECONDS: Final = 10.0  # that an adapter has to close its client
PATIENCE_MILLISECONDS: Final = 3_000  # that a client is asked to have with a lost link


class ClientPlayer(Player):
    """Plays an exchange with a client. Steps go by the newest connection, or by ``on``."""

    def __init__(self, exchange: Exchange, stage: Stage, patience: float) -> None:
        super().__init__(exchange, stage.names, patience)
        self._stage = stage
        self._url, self.visits, self.news = stage.address()
        self._links: dict[str, Link] = {}
        self._tasks: dict[str, int] = {}
        self._events: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._told: dict[tuple[int, int], bytearray] = defaultdict(bytearray)
        self._set_model(WELCOME["models"][0])
        self.names["ids"] = self._ids
        self.names["told"] = lambda index=0, of="t": bytes(self._told[self._tasks[of], index])
        self.names |= {"url": self._url, "http": f"http://127.0.0.1:{stage.port}"}
        self.names["fetched"] = stage.fetched_from
        self.names["order"] = [name for name, *_ in frames.TABLES["accepted"][1:10]]

    def _set_model(self, model: dict[str, Any]) -> None:
        self._model = model
        self.names |= {"model": values.record(model), "rows": model["rows"]}
        self.names["answer"] = {**ANSWERS["accepted"], "seed": 7, **model, "model": model["name"]}
        self.names["row_bytes"] = model["cols"] * model["id_bytes"]

    def _ids(self, first: int, last: int, image: int = 0) -> bytes:
        return ids_of(self._model, first, last, image)

    def settle(self) -> None:
        for link in self._links.values():
            if link.broken:
                raise link.broken

    async def clean_up(self) -> None:
        self._stage.say(do="close", url=self._url)
        try:
            closed = "the adapter did not close its client"
            is_closed = partial(self._stage.is_closed, self._url)
            await super().until(self.news, is_closed, closed, CLOSE_SECONDS)
        finally:
            for link in self._links.values():
                link.drop()
            self._stage.leave(self._url)

    async def until(
        self, news: asyncio.Event, is_so: Callable[[], bool], what: str, seconds: float = 0
    ) -> None:
        await super().until(news, lambda: is_so() or bool(self._stage.ended), what, seconds)
        if not is_so():
            raise Failed(self._stage.ended)

    def take_event(self, event: dict[str, Any]) -> None:
        """An event of the adapter, of one of the tasks of this exchange."""
        event["message"] = event.pop("event")
        if event["message"] == "rows":
            told = self._told[event["task"], event["index"]]
            at = event["first_row"] * self.names["row_bytes"]
            told[at:] = bytes.fromhex(event["ids"])
        elif event["message"] not in ("accepted", "queued"):
            self._events[event["task"]].append(event)
        self.news.set()

    # What the client's user does, and is told

    async def do_task(self, step: dict[str, Any]) -> None:
        """``task``: draw, watch or fetch, with its fields; ``of`` names it (default ``t``)."""
        kind, name = step.pop("task"), step.pop("of", "t")
        number = self._tasks[name] = self._stage.task(self)
        fields: dict[str, Any] = {"patience_ms": PATIENCE_MILLISECONDS, "token": None}
        if kind == "draw":
            fields |= {"prompt": "a red boat", "images": 1, "options": {}}
        elif kind == "watch":
            fields |= {"image": 0, "images": 1}
        fields |= self.value(step)
        self._stage.say(do=kind, task=number, url=self._url, **_as_json(fields))

    async def do_cancel(self, step: dict[str, Any]) -> None:
        """``cancel``: the user ends a task."""
        self._stage.say(do="cancel", task=self._tasks[step["cancel"]])

    async def do_event(self, step: dict[str, Any]) -> None:
        """``event``: what the user is told next, and its fields; rows do not count."""
        kind, events, within = step.pop("event"), self._of(step), step.pop("within", 0)
        await self.until(
            self.news,
            lambda: bool(events),
            f"the client did not tell: {kind}",
            within,
        )
        event = events.pop(0)
        if event["message"] == "unsupported":
            raise NotApplicable("the client cannot do this")
        values.check(event, kind, step, self.names)

    async def do_no_event(self, step: dict[str, Any]) -> None:
        """``no_event``: for so many seconds the user is told nothing but rows."""
        events = self._of(step)
        await asyncio.sleep(step["no_event"])
        if events:
            raise Failed(f"the client told {values.told(events[0])}")

    async def do_told(self, step: dict[str, Any]) -> None:
        """``told``: the rows that the user has of picture ``index`` are those drawn so far."""
        task, index = self._tasks[step.get("of", "t")], step.get("index", 0)
        told, image = self._told[task, index], step.get("image", step.get("index", 0))
        wanted = self._ids(0, self.value(step["told"]), image)
        await self.until(self.news, lambda: len(told) >= len(wanted), "the rows were not told")
        if told != wanted:
            raise Failed(f"other rows were told: {values.told(told)}")

    def _of(self, step: dict[str, Any]) -> list[dict[str, Any]]:
        return self._events[self._tasks[step.pop("of", "t")]]

    # Connections

    async def _visit(self, step: dict[str, Any]) -> Visit:
        within = step.get("within", 0)
        await self.until(
            self.news,
            lambda: bool(self.visits) or self._gave_up(),
            "the client did not connect",
            within,
        )
        if not self.visits:
            raise Failed("the client did not connect: its user was told an end")
        visit = self.visits.pop(0)
        self.names["request"] = values.record(visit.told)
        if visit.offered.count(frames.SUBPROTOCOL) != 1:
            raise Broken("R-1", f"the client offers {visit.offered}")
        return visit

    def _gave_up(self) -> bool:
        """True if the user was told of the end of every task."""
        return bool(self._tasks) and all(self._events[task] for task in self._tasks.values())

    async def do_accept(self, step: dict[str, Any]) -> None:
        """``accept``: the next connection, and its name; ``choose = false`` no subprotocol."""
        visit = await self._visit(step)
        link = self._links[step["accept"]] = await visit.accept(step.get("choose", True), self.news)
        self._link = link

    async def do_refuse(self, step: dict[str, Any]) -> None:
        """``refuse``: the next handshake is answered so."""
        (await self._visit(step)).refuse(self.value(step["refuse"]))

    async def do_no_connection(self, step: dict[str, Any]) -> None:
        """``no_connection``: for so many seconds the client does not come back."""
        await asyncio.sleep(step["no_connection"])
        if self.visits:
            raise Failed("the client connected again")

    def _on(self, step: dict[str, Any]) -> Link:
        return self._links[step.pop("on")] if "on" in step else self._link

    async def do_expect(self, step: dict[str, Any]) -> None:
        """``expect``: the next frame of the client, and its fields; with ``skip`` the next that
        fits. Pings are answered aside."""
        link, kind = self._on(step), step.pop("expect")
        skip, within = step.pop("skip", False), step.pop("within", 0)
        while True:
            await self.until(self.news, lambda: link.has_news, f"{kind} did not come", within)
            if not link.inbox:
                raise link.broken or Failed(f"{kind} did not come: the client closed {link.closed}")
            message = link.inbox.popleft()
            if not skip or (message["message"] == kind and values.fits(step, message, self.names)):
                break
        values.check(message, kind, step, self.names)
        self.names["got"] = values.record(message)
        if kind == "start":
            self.names["start"] = self.names["got"]

    async def do_silent(self, step: dict[str, Any]) -> None:
        """``silent``: for so many seconds the client sends nothing."""
        link = self._on(step)
        await asyncio.sleep(step["silent"])
        if link.inbox:
            raise Failed(f"{values.told(link.inbox[0])} came, where nothing was to come")

    async def do_send(self, step: dict[str, Any]) -> None:
        """``send``: a message; fields that are not stated fit what was asked for."""
        link, kind = self._on(step), step.pop("send")
        extra, repeat = step.pop("extra", None), step.pop("repeat", 1)
        for index in range(self.value(repeat)):
            self.names["i"] = index
            data = frames.write_frame(kind, self._fields(kind, self.value(step)), self.value(extra))
            link.rules.sent(message_of(frames.SERVER, data))
            await link.send(data)

    def _fields(self, kind: str, stated: dict[str, Any]) -> dict[str, Any]:
        if kind == "welcome":
            model = {**WELCOME["models"][0], **stated.get("model", {})}
            self._set_model(model)
            limits = WELCOME["limits"] | stated.get("limits", {})
            return {"limits": limits, "models": [*stated.get("before", []), model]}
        fields = {name: self.value(value) for name, value in ANSWERS.get(kind, {}).items()}
        image = stated.pop("image", 0) if kind in ("rows", "done") else 0
        if kind == "accepted":
            fields["seed"] = self.names["start"].options.seed if "start" in self.names else None
            fields["seed"] = 7 if fields["seed"] is None else fields["seed"]
        if kind == "rows":
            first = stated.get("first_row", 0)
            fields["ids"] = self._ids(first, first + stated.pop("count", 1), image)
        if kind == "done":
            held = stated.get("rows", fields["rows"])
            fields["crc32"] = frames.crc32(self._ids(0, held, image))
        return fields | stated

    async def do_send_raw(self, step: dict[str, Any]) -> None:
        """``send_raw``: an array; ``send_frame``: bytes; ``send_text``; ``send_bytes``: zeros."""
        link, data = self._on(step), self.packed(step)
        assert data is not None
        if isinstance(data, bytes):
            link.rules.sent(message_of(frames.SERVER, data))
        await link.send(data)

    do_send_frame = do_send_bytes = do_send_text = do_send_raw

    async def do_close(self, step: dict[str, Any]) -> None:
        """``close``: the server closes with this code."""
        link = self._on(step)
        await link.close(self.value(step["close"]))

    async def do_raw(self, step: dict[str, Any]) -> None:
        """``raw``: the server sends these bytes past its WebSocket."""
        self._on(step).write(self.value(step["raw"]))

    async def do_drop(self, step: dict[str, Any]) -> None:
        """``drop``: the link breaks, without a close."""
        self._on(step).drop()

    async def do_end(self, step: dict[str, Any]) -> None:
        """``end``: the server closes with this code, or the link breaks: ``drop``."""
        how = self.value(step["end"])
        await (self.do_drop({}) if how == "drop" else self.do_close({"close": how}))

    async def do_expect_close(self, step: dict[str, Any]) -> None:
        """``expect_close``: the codes that the client may close with; empty: any."""
        link, wanted = self._on(step), self.value(step["expect_close"])
        what, within = f"no close {' or '.join(map(str, wanted))}", step.get("within", 0)
        await self.until(self.news, lambda: link.closed is not None, what, within)
        if wanted and link.closed not in wanted:
            raise Failed(f"the client closed {link.closed}, not {' or '.join(map(str, wanted))}")

    async def do_alive(self, step: dict[str, Any]) -> None:
        """``alive``: a ping is answered; or the client, having nothing to do, has closed 1000."""
        link = self._on(step)
        await link.send(frames.write_frame("ping", {"echo": 4_294_967_295}))
        while True:
            await self.until(self.news, lambda: link.has_news, "a ping was not answered")
            if link.inbox:
                if link.inbox.popleft() == {"message": "pong", "echo": 4_294_967_295}:
                    return
            elif link.broken:
                raise link.broken
            elif link.closed in (1000, 1001):
                return
            else:
                raise Failed(f"the client closed {link.closed}")

    async def do_begin(self, step: dict[str, Any]) -> None:
        """``begin``: a picture is asked for and accepted, and has so many rows; other fields are
        the task's. Binds ``stream`` and ``key``."""
        rows = self.value(step.pop("begin"))
        self.names.pop("key", None)
        await self.steps(
            [
                {"task": "draw", **step},
                {"accept": "a"},
                {"expect": "hello"},
                {"send": "welcome"},
                {"expect": "start", "stream": "?stream", "key": "?key"},
                {"send": "accepted"},
                *({"send": "rows", "first_row": row} for row in range(rows)),
                *([{"told": rows}] if rows else []),
            ]
        )

    async def do_attempts(self, step: dict[str, Any]) -> None:
        """``attempts``: steps for each time that the client connects, ``most`` times, until its
        user is told an end."""
        count, events = 0, self._of(step)
        while True:
            await self.until(
                self.news,
                lambda: bool(self.visits or events),
                "the client does not give up",
                step["within"],
            )
            if not self.visits:
                return
            count += 1
            if count > step["most"]:
                raise Failed(f"the client connects more than {step['most']} times")
            await self.steps(self.value(step["attempts"]))

    async def do_either(self, step: dict[str, Any]) -> None:
        """``either``: scripts of which the one goes on whose first step can be taken first."""
        branches: list[list[dict[str, Any]]] = step["either"]

        def ready() -> list[list[dict[str, Any]]]:
            return [each for each in branches if self._can(each[0])]

        within = step.get("within", 0)
        await self.until(self.news, lambda: bool(ready()), "none of several ways was taken", within)
        await self.steps(ready()[0])

    def _can(self, step: dict[str, Any]) -> bool:
        """True if the first step of a branch is what happened."""
        if "accept" in step:
            return bool(self.visits)
        if "event" in step:
            events = self._events[self._tasks[step.get("of", "t")]]
            return bool(events) and events[0]["message"] == step["event"]
        link = self._links[step["on"]] if "on" in step else self._link
        if "expect" in step:
            return bool(link.inbox) and link.inbox[0]["message"] == step["expect"]
        return "expect_close" in step and link.closed is not None


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    return value.hex() if isinstance(value, bytes) else value
