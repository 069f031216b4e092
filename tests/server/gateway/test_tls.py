"""Certificates: read, read again, and told where they do not serve."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from rowcast.errors import RowcastError
from rowcast_server.gateway.tls import Certificates

from tests.support.fakes import FakeClock


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "chain.pem")]
    subprocess.run([*command.split(), "-subj", "/CN=rowcast", *files], check=True)
    return folder / "chain.pem", folder / "key.pem"


@pytest.fixture
def files(pair: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    for path in pair:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / "chain.pem", tmp_path / "key.pem"


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
