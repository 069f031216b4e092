"""Certificates: read, read again, told where they do not serve, and spoken by."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest
from rowcast.errors import RowcastError
from rowcast_server.gateway.tls import Certificates

from tests.support.fakes import FakeClock
from tests.support.raw_client import PING, PONG, connected, until
from tests.support.web import CLOSING, HOST, bare, gate, nobody, refusal_of, status_of


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders, each of a certificate of 127.0.0.1 by nobody, and its key."""
    folders = [tmp_path_factory.mktemp("tls") for _ in range(2)]
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -subj /CN=rowcast -addext subjectAltName=IP:127.0.0.1"
    for folder in folders:
        files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "chain.pem")]
        subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return folders


@pytest.fixture
def files(certificates: list[Path], tmp_path: Path) -> tuple[Path, Path]:
    """The first certificate and its key, which may be changed."""
    for name in ("chain.pem", "key.pem"):
        (tmp_path / name).write_bytes((certificates[0] / name).read_bytes())
    return tmp_path / "chain.pem", tmp_path / "key.pem"


def settings(files: tuple[Path, Path]) -> dict[str, Path]:
    return {"tls_cert": files[0], "tls_key": files[1]}


def test_the_context_stays_until_the_files_change(files: tuple[Path, Path]) -> None:
    clock = FakeClock()
    certificates = Certificates(*files, clock.time)
    first = certificates.context
    clock.advance(5)
    assert certificates.context is first
    files[0].write_bytes(files[0].read_bytes() + b"\n")
    assert certificates.context is first, "looked at once a second"
    clock.advance(1)
    second = certificates.context
    assert second is not first
    clock.advance(1)
    assert certificates.context is second


def test_a_fault_is_told_once_and_the_one_from_before_stays(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    certificates = Certificates(*files, clock.time)
    first, good = certificates.context, files[1].read_bytes()
    files[1].unlink()
    for _ in range(3):
        clock.advance(1)
        assert certificates.context is first
    assert caplog.text.count("the certificate from before stays") == 1
    files[1].write_bytes(good)
    clock.advance(1)
    assert certificates.context is not first


def test_what_does_not_serve_is_named_with_its_options(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, key = files
    (tmp_path / "empty").write_bytes(b"")
    for given, words in (
        ((tmp_path / "missing", key), f"--tls-cert and --tls-key: {tmp_path / 'missing'} and "),
        ((chain, tmp_path / "missing"), "No such file"),
        ((tmp_path / "empty", None), f"--tls-cert: {tmp_path / 'empty'} are no certificate"),
        ((chain, None), "--tls-cert: "),
        ((key, chain), "are no certificate with its key"),
        ((tmp_path, key), "are no certificate with its key"),
    ):
        with pytest.raises(RowcastError) as told:
            Certificates(*given)
        assert words in str(told.value)


def test_a_key_with_a_password_is_told_and_nobody_is_asked(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    """A server that waits for a password at a terminal is one that hangs."""
    locked = tmp_path / "locked.pem"
    command = ["openssl", "ec", "-in", str(files[1]), "-out", str(locked), "-aes128"]
    subprocess.run([*command, "-passout", "pass:s3cret"], check=True, capture_output=True)
    with pytest.raises(RowcastError, match="the key has a password; write it without one"):
        Certificates(files[0], locked)


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "chain.pem"))


class TestConnections:
    """Both protocols over it, through a gateway."""

    async def test_both_protocols_are_spoken_over_it(
        self, files: tuple[Path, Path], certificates: list[Path]
    ) -> None:
        tls = trusting(certificates[0])
        async with gate(**settings(files)) as (_, url):
            secure = url.replace("ws:", "wss:")
            async with connected(secure, ssl=tls) as client:
                await client.send(PING, 1)
                assert await client.receive() == [PONG, 1]
            async with bare(url, tls) as http:
                assert status_of(await http.ask()) == 200
                assert status_of(await http.ask()) == 200
            async with bare(url, tls) as bad:
                assert status_of(await bad.ask(b"nonsense\r\n\r\n")) == 400
                assert await bad.is_closed()
            assert (await refusal_of(secure, ssl=tls, origin="https://evil.example"))[0] == 403

    async def test_a_certificate_may_hold_its_key(
        self, certificates: list[Path], tmp_path: Path
    ) -> None:
        both = tmp_path / "both.pem"
        both.write_bytes(
            b"".join((certificates[0] / n).read_bytes() for n in ("chain.pem", "key.pem"))
        )
        async with gate(tls_cert=both) as (_, url), bare(url, trusting(certificates[0])) as http:
            assert status_of(await http.ask()) == 200

    async def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered_over_it(
        self, files: tuple[Path, Path], certificates: list[Path]
    ) -> None:
        """In one piece: the loop has then not yet come to say that the handshake has ended."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting(certificates[0]).wrap_bio(incoming, outgoing, server_hostname=HOST)
        async with gate(**settings(files)) as (_, url), bare(url) as client:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    client.writer.write(outgoing.read())
                    incoming.write(await client.reader.read(65_536))
            tls.write(CLOSING)
            client.writer.write(outgoing.read())  # Finished, and the request
            answer = b""
            async with asyncio.timeout(20):
                while b"live\n" not in answer:
                    try:
                        answer += tls.read(65_536)
                    except ssl.SSLWantReadError:
                        piece = await client.reader.read(65_536)
                        assert piece, answer
                        incoming.write(piece)
            assert status_of(answer) == 200

    async def test_it_is_read_again_when_it_changes_and_nobody_is_cut(
        self, files: tuple[Path, Path], certificates: list[Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        old, new = map(trusting, certificates)
        async with gate(**settings(files)) as (gateway, url):
            secure = url.replace("ws:", "wss:")
            held = gateway._listener.certificates
            assert held is not None
            async with connected(secure, ssl=old) as client:
                for path in files:
                    path.write_bytes((certificates[1] / path.name).read_bytes())
                held._checked = float("-inf")
                async with connected(secure, ssl=new) as other:
                    assert other.welcome
                with pytest.raises(ssl.SSLCertVerificationError):
                    async with connected(secure, ssl=old):
                        pass
                files[1].write_text("nonsense")
                held._checked = float("-inf")
                async with connected(secure, ssl=new) as other:
                    assert other.welcome, "the one from before stays"
                assert "the certificate from before stays" in caplog.text
                await client.send(PING, 1)
                assert await client.receive() == [PONG, 1]

    @pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01"])
    async def test_a_slow_handshake_is_cut(self, files: tuple[Path, Path], data: bytes) -> None:
        async with gate(open_timeout=0.2, **settings(files)) as (_, url), bare(url) as client:
            client.writer.write(data)
            assert await client.is_closed()

    async def test_who_speaks_plainly_is_cut_at_once_and_counted_no_longer(
        self, files: tuple[Path, Path]
    ) -> None:
        async with gate(open_timeout=60, **settings(files)) as (gateway, url):
            async with bare(url) as client:
                answer = await client.ask(CLOSING)
                assert b"HTTP" not in answer
                await until(lambda: nobody(gateway))
            async with bare(url):
                await until(lambda: gateway._listener._arrivals)
            await until(lambda: nobody(gateway))
