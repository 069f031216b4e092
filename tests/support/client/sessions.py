"""A client's session without a socket, its server's frames made by hand."""

from __future__ import annotations

from typing import Any

from rowcast.events import Event
from rowcast.generation import Generation
from rowcast.messages import (
    ClientMessage,
    Start,
    decode_client,
)
from rowcast.requests import Request
from rowcast.session import ClientSession

from tests.support.fake_server import (
    welcome,
)

PROMPT = "a red boat"


def greeted(**limits: Any) -> ClientSession:
    session = ClientSession()
    session.hello()
    session.receive(welcome(**limits))
    return session


def started(images: int = 1, **options: Any) -> tuple[ClientSession, Generation]:
    session = greeted()
    generation, _ = session.start(Request(PROMPT, images, **options))
    return session, generation


def taken(generation: Generation) -> list[Event]:
    events = []
    while (event := generation.take()) is not None:
        events.append(event)
    return events


def kinds(generation: Generation) -> list[str]:
    return [type(event).__name__ for event in taken(generation)]


def message_of(frame: bytes) -> ClientMessage:
    message = decode_client(frame)
    assert message is not None
    return message


def the_start(frames: list[bytes]) -> Start:
    (frame,) = frames
    message = message_of(frame)
    assert isinstance(message, Start)
    return message
