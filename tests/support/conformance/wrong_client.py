"""The adapter of our client, with a fault: ``{"do": "break", "fault": NAME}`` puts one in."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import rowcast.transport
from rowcast.generation import Slot
from rowcast.messages import Ping, Pong, decode_server, encode
from rowcast.session import ClientSession

from tests.conformance.adapters import rowcast_client


@dataclass(frozen=True)
class Fault:
    """A wrong attribute in the place of a right one."""

    name: str
    shown_by: str  # an exchange that must fail
    owner: Any
    attribute: str
    wrong: Callable[[Any], Any]  # given the right one


def _ignoring(kind: type) -> Callable[[Any], Any]:
    def wrong(receive: Any) -> Any:
        def without(session: ClientSession, frame: Any) -> Any:
            is_one = isinstance(frame, bytes) and isinstance(decode_server(frame), kind)
            return [] if is_one else receive(session, frame)

        return without

    return wrong


def _other_echo(receive: Any) -> Any:
    def wrong(session: ClientSession, frame: Any) -> Any:
        answers = receive(session, frame)
        message = decode_server(frame) if answers else None
        return [encode(Pong(message.echo ^ 1))] if isinstance(message, Ping) else answers

    return wrong


def _takes_text(receive: Any) -> Any:
    return lambda session, frame: [] if isinstance(frame, str) else receive(session, frame)


def _lenient(add_rows: Any) -> Any:
    def wrong(slot: Slot, first_row: int, ids: bytes) -> None:
        if first_row == slot.picture.rows_held:
            add_rows(slot, first_row, ids)

    return wrong


def _another_key(restart: Any) -> Any:
    return lambda slot: msgspec.structs.replace(restart(slot), key=bytes(range(16)))


def _impatient(put_off: Any) -> Any:
    return lambda slot, now, wait, patience: put_off(slot, now, wait and 0.05, patience)


FAULTS = (
    Fault(
        "shows a false end",
        "strict/a-done-that-is-not-true/another-checksum",
        Slot,
        "check_end",
        lambda _: lambda *_: None,
    ),
    Fault("takes a row twice", "strict/wrong-rows/repeated", Slot, "add_rows", _lenient),
    Fault("takes text", "strict/text", ClientSession, "receive", _takes_text),
    Fault("leaves pings unanswered", "forgiving/ping/0", ClientSession, "receive", _ignoring(Ping)),
    Fault("answers another ping", "forgiving/ping/0", ClientSession, "receive", _other_echo),
    Fault(
        "never comes back",
        "links/reconnect/1001",
        rowcast.transport,
        "may_reconnect",
        lambda _: lambda _: False,
    ),
    Fault(
        "always comes back",
        "links/do-not-retry/4400",
        rowcast.transport,
        "may_reconnect",
        lambda _: lambda _: True,
    ),
    Fault(
        "recovers by another key", "links/reconnect/1001", Slot, "_restart_message", _another_key
    ),
    Fault("asks again too soon", "links/busy/busy", Slot, "put_off", _impatient),
    Fault(
        "has one key for all",
        "asking/keys-are-new",
        secrets,
        "token_bytes",
        lambda _: lambda count: bytes(range(count)),
    ),
    Fault(
        "starts after goaway",
        "links/goaway",
        ClientSession,
        "_is_going_away",
        lambda _: property(lambda _: False, lambda *_: None),
    ),
)


class WrongUsers(rowcast_client.Users):
    """Users whose client has at most one fault at a time."""

    _mend: Callable[[], None] = staticmethod(lambda: None)

    async def take(self, line: dict[str, Any]) -> None:
        if line["do"] == "break":
            self._mend()
            self._break(line["fault"])
        else:
            await super().take(line)

    def _break(self, name: str) -> None:
        (fault,) = (fault for fault in FAULTS if fault.name == name)
        missing = object()
        right = getattr(fault.owner, fault.attribute, missing)
        setattr(fault.owner, fault.attribute, fault.wrong(right))

        def mend() -> None:
            if right is missing:
                delattr(fault.owner, fault.attribute)
            else:
                setattr(fault.owner, fault.attribute, right)

        self._mend = mend


if __name__ == "__main__":
    rowcast_client.Users = WrongUsers  # type: ignore[misc]
    asyncio.run(rowcast_client.main())
