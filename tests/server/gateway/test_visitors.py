"""Who comes: names of the server, origins of pages, proxies, addresses, tokens."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from rowcast_server.access import Access, sign_token
from rowcast_server.clients import Clients
from rowcast_server.config import ServerConfig
from rowcast_server.gateway.request_head import RequestHead, RequestRefused
from rowcast_server.gateway.visitors import UNKNOWN, Doorman, subscriber

from tests.support.fakes import FakeClock

PEER = "192.0.2.1"


def doorman(
    access: Access | None = None, clock: FakeClock | None = None, **settings: Any
) -> Doorman:
    config = ServerConfig(**settings)
    clients = Clients(config, access or Access(config.tokens), (clock or FakeClock()).time)
    return Doorman(config, clients)


def asking(websocket: bool = True, **fields: str) -> RequestHead:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    upgrade = {"upgrade": "websocket"} if websocket else {}
    return RequestHead("GET", "/", {"host": "127.0.0.1:8765"} | named | upgrade)


def refused_by(door: Doorman, asked: RequestHead, peer: str = PEER) -> RequestRefused:
    with pytest.raises(RequestRefused) as refused:
        door.visitor(asked, peer)
    return refused.value


class TestHost:
    @pytest.mark.parametrize(
        ("field", "host"),
        [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1:8765", "127.0.0.1"),
            ("192.0.2.7:1", "192.0.2.7"),
            ("[::1]:8765", "::1"),
            ("[2001:DB8::7]", "2001:db8::7"),
            ("localhost", "localhost"),
            ("LOCALHOST:8765", "localhost"),
            (f"{socket.gethostname()}:8765", socket.gethostname().lower()),
        ],
    )
    @pytest.mark.parametrize("websocket", [False, True])
    def test_addresses_and_this_machines_names_are_this_server(
        self, field: str, host: str, websocket: bool
    ) -> None:
        assert doorman().visitor(asking(websocket, host=field), PEER).host == host

    @pytest.mark.parametrize(
        "field",
        [
            "evil.example",
            "evil.example:8765",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.localhost",
            "2130706433",
            "0x7f000001",
            "127.1",
            "localhost.",
            "127.0.0.1, evil.example",
            "*",
        ],
    )
    @pytest.mark.parametrize("websocket", [False, True])
    def test_another_name_that_leads_here_is_421(self, field: str, websocket: bool) -> None:
        """Against DNS rebinding: a page's own name that was pointed at this machine."""
        refusal = refused_by(doorman(), asking(websocket, host=field))
        assert refusal.status == 421
        assert "--allow-host" in refusal.text

    @pytest.mark.parametrize(
        "field",
        [
            *("", ":8765", "x:y", "x:99999", "x:y:z", "[::1", "::1]", "@", "a@localhost"),
            *("a:b@localhost", "a/b", "a?b", "a#b", "localhost/"),
        ],
    )
    def test_what_names_no_host_is_400(self, field: str) -> None:
        assert refused_by(doorman(), asking(host=field)).status == 400

    def test_without_a_host_there_is_none(self) -> None:
        """HTTP/1.0, as probes speak it."""
        assert doorman().visitor(RequestHead("GET", "/livez", {}), PEER).host is None

    def test_other_names_are_those_that_are_allowed(self) -> None:
        door = doorman(
            host="Server.Local",
            allow_hosts=("Pictures.Example.org",),
            public_url="https://CDN.example/x",
        )
        for name in ("pictures.example.ORG:1", "server.local", "cdn.example"):
            assert door.visitor(asking(host=name), PEER).host == name.partition(":")[0].lower()
        assert refused_by(door, asking(host="example.org")).status == 421
        assert refused_by(door, asking(host="x.pictures.example.org")).status == 421
        assert doorman(allow_hosts=("*",)).visitor(asking(host="any.example"), PEER)


class TestOrigin:
    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("http://127.0.0.1:8765", "127.0.0.1:8765"),
            ("http://LocalHost:8765", "localhost:8765"),
            ("http://localhost", "localhost:80"),
            ("https://localhost", "localhost"),  # a proxy speaks TLS
            ("https://localhost:443", "localhost"),
            ("http://[::1]:8765", "[::1]:8765"),
        ],
    )
    def test_pages_of_this_server_may_draw(self, origin: str, host: str) -> None:
        assert doorman().visitor(asking(origin=origin, host=host), PEER)

    @pytest.mark.parametrize(
        "origin",
        [
            "null",
            "",
            "*",
            "http://evil.example",
            "http://evil.example:8765",
            "http://127.0.0.1",
            "http://127.0.0.1:8766",
            "http://127.0.0.1:8765.evil.example",
            "http://127.0.0.1:8765@evil.example",
            "http://127.0.0.1:8765/",
            "http://127.0.0.1:99999",
            "http://localhost:8765",
            "127.0.0.1:8765",
            "file://",
            "chrome-extension://abcdef",
            "http://127.0.0.1:8765, http://evil.example",
            "h\tttp://127.0.0.1:8765",
            "http://evil.example[127.0.0.1]:8765",
            "://127.0.0.1:8765",
        ],
    )
    def test_other_pages_may_not(self, origin: str) -> None:
        refusal = refused_by(doorman(), asking(origin=origin))
        assert refusal.status == 403
        assert "--allow-origin" in refusal.text

    @pytest.mark.parametrize("origin", ["http://[::1]evil.example", "http://evil.example[::1]"])
    def test_an_address_in_brackets_is_the_whole_host(self, origin: str) -> None:
        assert refused_by(doorman(), asking(origin=origin, host="[::1]")).status == 403

    def test_of_files_every_page_may_ask(self) -> None:
        assert doorman().visitor(asking(False, origin="https://evil.example"), PEER)

    def test_those_that_are_allowed_may(self) -> None:
        door = doorman(
            allow_origins=("https://App.example.org", "null"), public_url="https://cdn.example/x"
        )
        for origin in ("https://app.example.org", "HTTPS://APP.EXAMPLE.ORG", "null"):
            assert door.visitor(asking(origin=origin), PEER)
        assert door.visitor(asking(origin="https://cdn.example"), PEER), "behind the public URL"
        for origin in ("http://app.example.org", "https://app.example.org:444"):
            assert refused_by(door, asking(origin=origin)).status == 403
        assert doorman(allow_origins=("*",)).visitor(asking(origin="https://any.example"), PEER)


class TestAddress:
    @pytest.mark.parametrize("said", ["198.51.100.7", "198.51.100.7, 192.0.2.1", "::1", "x", ""])
    def test_nobody_is_believed_who_is_no_proxy(self, said: str) -> None:
        assert doorman().visitor(asking(x_forwarded_for=said), PEER).address == PEER
        door = doorman(trusted_proxies=("10.0.0.0/8",))
        assert door.visitor(asking(x_forwarded_for=said), PEER).address == PEER

    @pytest.mark.parametrize(
        ("said", "address"),
        [
            ("198.51.100.7", "198.51.100.7"),
            ("  198.51.100.7 ", "198.51.100.7"),
            ("203.0.113.9, 198.51.100.7", "198.51.100.7"),  # the first is the client's own word
            ("198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ("198.51.100.7,10.0.0.2,10.0.0.3", "198.51.100.7"),
            ("203.0.113.9, 10.0.0.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ("10.0.0.2, 10.0.0.3", "10.0.0.2"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("198.51.100.7, ::ffff:10.0.0.2", "198.51.100.7"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("unknown", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("198.51.100.7, _hidden", "10.0.0.1"),
            ("198.51.100.7, 10.0.0.999, 10.0.0.2", "10.0.0.2"),
            ("'; DROP TABLE", "10.0.0.1"),
        ],
    )
    @pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1"])
    def test_of_a_proxy_the_nearest_that_is_none_counts(
        self, said: str, address: str, peer: str
    ) -> None:
        door = doorman(trusted_proxies=("10.0.0.0/8", "fd00::1"))
        assert door.is_proxy(peer)
        assert door.visitor(asking(x_forwarded_for=said), peer).address == address

    def test_a_proxy_of_ipv6_is_one_too(self) -> None:
        door = doorman(trusted_proxies=("fd00::1",))
        visitor = door.visitor(asking(x_forwarded_for="198.51.100.7"), "fd00::1")
        assert visitor.address == "198.51.100.7"
        assert door.visitor(asking(x_forwarded_for="1.1.1.1"), "fd00::2").address == "fd00::/64"

    def test_who_comes_by_a_unix_socket_speaks_for_others(self) -> None:
        visitor = doorman().visitor(asking(x_forwarded_for="198.51.100.7"), UNKNOWN)
        assert visitor.address == "198.51.100.7"
        assert doorman().visitor(asking(), UNKNOWN).address == UNKNOWN

    @pytest.mark.parametrize(
        ("address", "counted"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::", "2001:db8:1:3::/64"),
            ("::1", "::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            (UNKNOWN, UNKNOWN),
        ],
    )
    def test_addresses_of_one_subscriber_count_as_one(self, address: str, counted: str) -> None:
        assert subscriber(address) == counted


class TestToken:
    def test_the_field_grants_what_the_token_gives(self, tmp_path: Path) -> None:
        secret = tmp_path / "secrets"
        secret.write_text("s" * 32)
        access = Access({"letmein"}, secret)
        door = doorman(access)
        assert door.visitor(asking(), PEER).grant is None
        for field in ("Bearer letmein", "bearer letmein", "BEARER  letmein "):
            visitor = door.visitor(asking(authorization=field), PEER)
            assert visitor.grant == access.grant("letmein")
        signed = sign_token(b"s" * 32, "alice", time.time() + 60, ["watch"])
        grant = door.visitor(asking(authorization=f"Bearer {signed}"), PEER).grant
        assert grant is not None
        assert (grant.subject, grant.may_draw, grant.may_watch) == ("alice", False, True)

    @pytest.mark.parametrize("field", ["", "Basic bGV0bWVpbg==", "letmein", "Digest x", "Bearerx"])
    def test_another_scheme_grants_nothing(self, field: str) -> None:
        door = doorman(tokens=frozenset({"letmein"}))
        assert door.visitor(asking(authorization=field), PEER).grant is None

    @pytest.mark.parametrize("token", ["", "wrong", "letmein x", "l\xfctmein", "x" * 4_000])
    def test_a_wrong_token_is_401_and_shown_to_nobody(self, token: str) -> None:
        door = doorman(tokens=frozenset({"letmein"}))
        refusal = refused_by(door, asking(authorization=f"Bearer {token}"))
        assert refusal.status == 401
        assert refusal.fields["WWW-Authenticate"].startswith("Bearer")
        assert "letmein" not in refusal.text

    def test_an_expired_one_is_401_and_no_guess(self, tmp_path: Path) -> None:
        secret = tmp_path / "secrets"
        secret.write_text("s" * 32)
        door = doorman(Access((), secret), failures_per_minute=1)
        old = sign_token(b"s" * 32, "alice", time.time() - 60)
        for _ in range(10):
            refusal = refused_by(door, asking(authorization=f"Bearer {old}"))
            assert (refusal.status, "expired" in refusal.text) == (401, True)

    def test_who_guesses_has_to_wait_and_others_have_not(self) -> None:
        clock = FakeClock()
        door = doorman(tokens=frozenset({"letmein"}), failures_per_minute=1, clock=clock)
        wrong, right = asking(authorization="Bearer wrong"), asking(authorization="Bearer letmein")
        for _ in range(4):  # minutes' worth
            assert refused_by(door, wrong).status == 401
        for asked in (wrong, right):
            refusal = refused_by(door, asked)
            assert (refusal.status, refusal.retry_after) == (429, 60)
            assert refusal.fields["Retry-After"] == "60"
        assert door.visitor(right, "192.0.2.2").grant is not None
        assert door.visitor(asking(), PEER).grant is None, "who shows none is no guesser"
        clock.advance(60)
        assert door.visitor(right, PEER).grant is not None

    def test_where_no_token_is_asked_for_any_will_do(self) -> None:
        grant = doorman().visitor(asking(authorization="Bearer x"), PEER).grant
        assert grant is not None
        assert grant.subject is None
