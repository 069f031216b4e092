"""The way to a server: proxies of the environment and of an option, certificates."""

from __future__ import annotations

import logging
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rowcast
from msgspec.structs import replace
from rowcast.errors import ConnectionFailed, DetokenizerError, InvalidRequest
from rowcast.messages import DetokenizerFile
from rowcast.pixels.artifacts import fetch
from rowcast.pixels.network import certificates, check_proxy, is_loopback, proxy_of
from rowcast_server.server import RowcastServer

from tests.support.client.shells import SHELLS, Connect
from tests.support.fake_server import Peer, accepted, done, fake_server, rows
from tests.support.forward_proxy import ForwardProxy, forward_proxy
from tests.support.servers import running_server
from tests.support.site import CONTENT, sends, site

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
FAR = "ws://rowcast.test:8765"  # a name that nobody knows (RFC 6761 section 6.2)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    with forward_proxy() as made:
        yield made


@pytest.fixture(params=SHELLS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return SHELLS[request.param]


# Proxies


@pytest.mark.parametrize(
    ("variables", "url", "found"),
    [
        ({"HTTP_PROXY": "http://p:1"}, FAR, "http://p:1"),
        ({"http_proxy": "p:1"}, FAR, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "http://rowcast.test/file", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "wss://rowcast.test", None),
        ({"HTTPS_PROXY": "http://p:1"}, "wss://rowcast.test", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "https://rowcast.test/file", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, FAR, None),
        ({"ALL_PROXY": "http://p:1"}, FAR, "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "HTTP_PROXY": "http://q:2"}, FAR, "http://q:2"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "rowcast.test"}, FAR, None),
        ({"ALL_PROXY": "http://p:1", "no_proxy": "*"}, FAR, None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "other.test"}, FAR, "http://p:1"),
        ({"ALL_PROXY": "nonsense://"}, "ws://127.0.0.1:8765", None),
        ({"ALL_PROXY": "nonsense://"}, "ws://[::1]:8765", None),
        ({"ALL_PROXY": "nonsense://"}, "ws://localhost:8765", None),
        ({}, FAR, None),
    ],
)
def test_the_environment_is_asked_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, found: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url, url, True) == found
    assert proxy_of(url, url, None) is None
    assert proxy_of(url, url, "http://other:3") == "http://other:3"


def test_what_is_on_the_servers_host_goes_the_way_of_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p:1")
    assert proxy_of("https://rowcast.test/file", FAR, True) is None
    assert proxy_of("https://other.test/file", FAR, True) == "http://p:1"


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("socks5://alice:s3cret@127.0.0.1:1080", "pip install"),
        ("gopher://alice:s3cret@host", "is none of http, https"),
        ("http://alice:s3cret@host:port", "is no address"),
        ("http://", "is none of"),
    ],
)
def test_a_proxy_that_cannot_be_is_told_with_its_variable_and_without_its_password(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, address: str, fault: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    with pytest.raises(ConnectionFailed, match=f"ALL_PROXY names .*{fault}") as caught:
        connect(FAR, proxy=True).__enter__()
    assert "s3cret" not in str(caught.value)
    with pytest.raises(InvalidRequest, match=fault) as refused:
        check_proxy(address)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("proxy", [False, 7, b"http://p:1"])
def test_a_proxy_is_an_address_or_true_or_none(proxy: Any) -> None:
    with pytest.raises(InvalidRequest, match="proxy must be an address, True or None"):
        rowcast.connect_sync("ws://127.0.0.1:1", proxy=proxy)


def test_a_file_whose_proxy_does_not_answer_is_told_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://alice:s3cret@127.0.0.1:9")
    file = DetokenizerFile("full", "fp32", 7, bytes(32), "http://files.test/x")
    with pytest.raises(DetokenizerError, match=r"by the proxy http://\*{3}@127\.0\.0\.1:9"):
        fetch(file, FAR, ("files.test",), tmp_path, None, True)


def test_by_an_option_socket_and_file_both_go_through_a_proxy(
    connect: Connect, tiny_server: RowcastServer, proxy: ForwardProxy
) -> None:
    with connect(tiny_server.ws_url, proxy=proxy.url) as client:
        (end,) = client.pictures("a red boat")
    assert end.image is not None
    methods = [method for method, _ in proxy.asked]
    assert methods[0] == "CONNECT"
    assert "GET" in methods


def test_by_the_environment_socket_and_file_both_go_through_a_proxy(
    connect: Connect, tiny_folder: Path, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a host that only the proxy knows."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    with running_server(tiny_folder, allow_hosts=("rowcast.test",)) as server:
        far = server.ws_url.replace("127.0.0.1", "rowcast.test")
        with pytest.raises(ConnectionFailed, match="cannot be reached"):
            connect(far).__enter__()
        assert proxy.asked == []
        with connect(far, proxy=True) as client:
            (end,) = client.pictures("a red boat")
    assert end.image is not None
    assert {*proxy.asked} == {("CONNECT", "rowcast.test"), ("GET", "rowcast.test")}


def test_a_proxy_that_does_not_answer_is_told(connect: Connect) -> None:
    with site(sends(b"", status=403)) as web:
        address = web.url.removesuffix("/detokenizer.onnx")
        with pytest.raises(ConnectionFailed, match="cannot be reached"):
            connect(FAR, proxy=address).__enter__()


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("a.localhost", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("localhost.test", False),
        ("", False),
    ],
)
def test_this_machine_is_known(host: str, own: bool) -> None:
    assert is_loopback(host) is own


# Passwords


def test_the_password_of_an_address_is_in_no_message_and_in_no_log(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """At any level of any logger."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    heads: list[str] = []

    async def script(peer: Peer) -> None:
        assert peer.connection.request is not None
        heads.append(peer.connection.request.headers["Authorization"])
        await peer.greet()
        await peer.send(accepted(), rows(0, 4), done())
        await peer.connection.wait_closed()

    with fake_server(script) as fake, site(sends(CONTENT)) as web:
        address = fake.url.replace("ws://", "ws://alice:s3cret@")
        with connect(address, decode=False, token="t0ken") as client:
            client.pictures("a red boat")
        for url in (
            address.replace("ws:", "wss:"),
            "ws://alice:s3cret@127.0.0.1:1",
            "ws://alice:s3cret@h:x",
            "alice:s3cret@h",
            "ws://alice:s3cret@[::1",
        ):
            with pytest.raises((ConnectionFailed, InvalidRequest)) as caught:
                connect(url, token="t0ken").__enter__()
            error: BaseException | None = caught.value
            while error is not None:
                told.append(f"{error!r} {error}")
                error = error.__cause__
        user = web.url.replace("http://", "http://alice:s3cret@")
        fetch(web.file(user), "ws://127.0.0.1:1")
        for file in (user.replace("http:", "ftp:"), user.replace("127.0.0.1", "10.0.0.1")):
            with pytest.raises(DetokenizerError) as refused:
                fetch(replace(web.file(file), sha256=bytes(32)), "ws://127.0.0.1:1")
            told.append(str(refused.value))
    assert heads == ["Basic YWxpY2U6czNjcmV0"]  # it was sent all the same
    ours = [each for each in caplog.records if each.name != "websockets.server"]  # the fake's
    log = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in ours)
    for text in [*told, log]:
        assert "s3cret" not in text
        assert "YWxpY2U6czNjcmV0" not in text
        assert "t0ken" not in text
    assert all("***" in text for text in told[:1])


# Certificates


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate of 127.0.0.1 by nobody, and the context of a server that has it."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=rowcast"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out certificate.pem"
    subprocess.run(command.split(), check=True, capture_output=True, cwd=folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return folder / "certificate.pem", context


def test_a_certificate_of_nobody_is_told_and_accepted_once_it_is_named(
    connect: Connect,
    self_signed: tuple[Path, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), rows(0, 4), done())
        await peer.connection.wait_closed()

    certificate, tls = self_signed
    with fake_server(script, tls=tls) as fake:
        url = fake.url.replace("ws:", "wss:")
        with pytest.raises(ConnectionFailed, match=r"certificate.*self-signed.*SSL_CERT_FILE"):
            connect(url, decode=False).__enter__()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with connect(url, decode=False) as client:
            assert client.pictures("a red boat")[0].picture.complete


def test_files_are_verified_as_the_socket_is(
    self_signed: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, tls = self_signed
    with site(sends(CONTENT), tls) as web:
        with pytest.raises(DetokenizerError, match=r"certificate.*self-signed.*SSL_CERT_FILE"):
            fetch(web.file(), "wss://127.0.0.1:1")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(web.file(), "wss://127.0.0.1:1").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_DIR", "/nowhere"),
        ("SSLKEYLOGFILE", "/nowhere/keys"),
    ],
)
def test_a_variable_that_names_no_certificates_is_told(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConnectionFailed, match=f"{variable}='{value}'"):
        certificates()
    with pytest.raises(ConnectionFailed, match=f"{variable}='{value}'"):
        connect("wss://127.0.0.1:1").__enter__()
