"""What a token allows on a connection, whose pictures are whose, and how often one may ask."""

from __future__ import annotations

import pytest
from msgspec.structs import replace as with_fields
from rowcast.messages import Cancel, CloseCode, Done, DoneReason, Error, Hello, Ping, Pong, encode
from rowcast_server.access import Grant
from rowcast_server.clients import Clients, Visitor
from rowcast_server.config import ServerConfig
from rowcast_server.errors import BadToken, CloseConnection

from tests.support.fakes import Studio
from tests.support.lines import Line, accepted, closed_by, greeted, rows, start, watch

TOKENS = frozenset({"alice", "bob"})


def rights(studio: Studio, grants: dict[str, Grant]) -> Clients:
    """Clients whose tokens grant just this."""
    clients = studio.clients_of(ServerConfig(tokens=TOKENS))

    def grant(token: str | None, address: str) -> Grant:
        if token in grants:
            return grants[token]
        raise BadToken("this token is not admitted")

    clients.grant = grant  # type: ignore[method-assign]
    return clients


GRANTS = {
    "alice": Grant("alice"),
    "bob": Grant("bob"),
    "wall": Grant("wall", may_draw=False),
    "pen": Grant("pen", may_watch=False),
    "nothing": Grant("nothing", may_draw=False, may_watch=False),
}


@pytest.fixture
def clients(studio: Studio) -> Clients:
    return rights(studio, GRANTS)


def error_of(line: Line) -> Error:
    (message,) = line.read()
    assert isinstance(message, Error)
    return message


@pytest.mark.parametrize("token", ["wall", "nothing"])
def test_who_may_only_watch_may_not_draw(studio: Studio, clients: Clients, token: str) -> None:
    line = greeted(studio, clients=clients, token=token)
    line.send(start(0, images=2))
    refusals = line.read()
    assert [(each.stream, each.code, each.retry_ms) for each in refusals] == [  # type: ignore[union-attr]
        (0, "forbidden", 0),
        (1, "forbidden", 0),
    ]
    assert studio.drawer.requests == {}


@pytest.mark.parametrize("token", ["pen", "nothing"])
def test_who_may_only_draw_may_not_watch_others(
    studio: Studio, clients: Clients, token: str
) -> None:
    greeted(studio, clients=clients, token="alice").send(start())
    line = greeted(studio, clients=clients, token=token)
    line.send(watch(4))
    refusal = error_of(line)
    assert (refusal.stream, refusal.code, refusal.retry_ms) == (4, "forbidden", 0)


def test_its_own_pictures_one_may_always_watch(studio: Studio, clients: Clients) -> None:
    greeted(studio, clients=clients, token="pen").send(start())
    studio.drawer.draw(0, 1)
    line = greeted(studio, clients=clients, token="pen")
    line.send(watch())
    assert line.read() == [accepted(), rows(0, 0, 1)]


def test_everybody_else_watches_whose_view_key_it_has(studio: Studio, clients: Clients) -> None:
    greeted(studio, clients=clients, token="alice").send(start())
    studio.drawer.draw(0, 1)
    for token in ("bob", "wall"):
        line = greeted(studio, clients=clients, token=token)
        line.send(watch())
        assert line.read() == [accepted(), rows(0, 0, 1)]


def test_a_key_is_its_owners(studio: Studio, clients: Clients) -> None:
    """Who learnt the key of another can neither take the picture up nor cancel it."""
    owner = greeted(studio, clients=clients, token="alice")
    owner.send(start())
    studio.drawer.draw(0, 1)
    owner.read()
    thief = greeted(studio, clients=clients, token="bob")
    thief.send(start())
    assert error_of(thief).code == "forbidden"
    thief.send(Cancel(0), start(key=bytes(16)))
    studio.drawer.place(1)
    assert thief.read() == [accepted()], "another key is another picture"
    assert studio.drawer.cancelled == []
    again = greeted(studio, clients=clients, token="alice")
    again.send(start())
    assert again.read() == [accepted(), rows(0, 0, 1)]
    again.send(Cancel(0))
    (ended,) = again.read()
    assert isinstance(ended, Done)
    assert ended.reason == DoneReason.CANCELLED


def test_without_tokens_the_key_alone_tells_the_owner(studio: Studio) -> None:
    greeted(studio, Visitor("192.0.2.1")).send(start())
    other = greeted(studio, Visitor("192.0.2.2"))  # who has changed the network
    other.send(start())
    studio.drawer.place(0)
    assert other.read() == [accepted()]
    assert len(studio.drawer.requests) == 1


class TestTheTokenOfTheRequest:
    """What the Authorization field granted counts where `hello` has no token."""

    def test_it_admits(self, studio: Studio, clients: Clients) -> None:
        line = greeted(studio, Visitor("192.0.2.1", grant=GRANTS["wall"]), clients)
        assert line.session.grant == GRANTS["wall"]
        line.send(start())
        assert error_of(line).code == "forbidden"

    def test_a_token_of_hello_goes_before(self, studio: Studio, clients: Clients) -> None:
        visitor = Visitor("192.0.2.1", grant=GRANTS["wall"])
        assert greeted(studio, visitor, clients, "alice").session.grant == GRANTS["alice"]
        line = Line(studio, visitor, clients)
        assert closed_by(line, encode(Hello("wrong", ""))) == 4403

    def test_without_either_nobody_is_admitted(self, studio: Studio, clients: Clients) -> None:
        assert (
            closed_by(Line(studio, Visitor("192.0.2.1"), clients), encode(Hello(None, ""))) == 4403
        )


class TestRates:
    def test_so_many_requests_a_minute_and_then_busy(self, studio: Studio) -> None:
        clients = studio.clients_of(ServerConfig(starts_per_minute=2))
        line = greeted(studio, clients=clients)
        for number in range(2):
            line.send(start(number, key=number.to_bytes(16)))
        line.read()
        line.send(start(2, images=2, key=bytes(15) + b"\x09"))
        refusals = line.read()
        assert [(each.code, each.retry_ms) for each in refusals] == [("busy", 30_000)] * 2  # type: ignore[union-attr]
        assert len(studio.drawer.requests) == 2
        studio.clock.advance(30)
        line.send(start(2, key=bytes(15) + b"\x09"))
        assert len(studio.drawer.requests) == 3

    def test_they_are_counted_by_client_and_not_by_connection(self, studio: Studio) -> None:
        clients = studio.clients_of(ServerConfig(starts_per_minute=1))
        one = Visitor("192.0.2.1")
        greeted(studio, one, clients).send(start())
        line = greeted(studio, one, clients)
        line.send(start(key=bytes(16)))
        assert error_of(line).code == "busy"
        greeted(studio, Visitor("192.0.2.2"), clients).send(start(key=bytes(16)))
        assert len(studio.drawer.requests) == 2

    def test_a_picture_counts_to_its_client(self, studio: Studio, clients: Clients) -> None:
        visitor = Visitor("192.0.2.1")
        greeted(studio, visitor, clients, "alice").send(start())
        greeted(studio, visitor, clients, "bob").send(start(key=bytes(16)))
        greeted(studio, visitor).send(start(key=b"k" * 16))
        assert studio.drawer.clients == {
            0: ("subject", "alice"),
            1: ("subject", "bob"),
            2: "192.0.2.1",
        }

    def test_too_many_messages_close_the_connection(self, studio: Studio) -> None:
        clients = studio.clients_of(ServerConfig(messages_per_minute=60))
        line = greeted(studio, clients=clients)
        ignored = b"\x91\x20"
        for _ in range(2_000 - 1):  # at once, whatever the rate
            line.session.receive(ignored)
        assert closed_by(line, ignored) == CloseCode.RATE_LIMITED
        studio.clock.advance(1)
        line.send(Ping(1))
        assert line.read() == [Pong(1)]

    def test_who_guesses_view_keys_is_closed(self, studio: Studio) -> None:
        clients = studio.clients_of(ServerConfig(failures_per_minute=1))
        line = greeted(studio, clients=clients)
        guess = with_fields(watch(), view_key=bytes(16))
        for _ in range(4):
            line.send(guess)
            assert error_of(line).code == "gone"
        with pytest.raises(CloseConnection) as closed:
            line.send(guess)
        assert closed.value.code == CloseCode.RATE_LIMITED

    def test_so_many_pictures_at_once(self) -> None:
        studio = Studio(client_pictures=2)
        line = greeted(studio)
        line.send(start(0, images=3))
        refusal = error_of(line)
        assert (refusal.stream, refusal.code, refusal.retry_ms) == (2, "busy", 2_000)
        studio.drawer.draw(0, 4)
        line.send(start(9, key=bytes(16)))
        assert len(studio.drawer.requests) == 2
