"""`rowcast token`: what it signs is admitted, for as long and for what it says."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from rowcast.cli import main
from rowcast_server.access import Access, read_secrets
from rowcast_server.errors import ExpiredToken

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def secret_file(tmp_path: Path, capsys: Captured) -> Path:
    path = tmp_path / "secrets"
    assert main(["token", "--new-secret", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"wrote {path}; ")
    assert path.read_text().strip() not in err
    return path


def signed(capsys: Captured, path: Path, *options: str) -> str:
    """The token that it prints, and nothing else."""
    assert main(["token", "--secret-file", str(path), *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    return out.removesuffix("\n")


def test_a_new_secret_is_random_and_its_owners_alone(secret_file: Path, tmp_path: Path) -> None:
    if os.name == "posix":
        assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
    assert main(["token", "--new-secret", str(tmp_path / "other")]) == 0
    assert read_secrets(secret_file) != read_secrets(tmp_path / "other")


def test_a_secret_is_never_overwritten(secret_file: Path, capsys: Captured) -> None:
    before = secret_file.read_bytes()
    assert main(["token", "--new-secret", str(secret_file)]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"rowcast token: {secret_file} is there already; name another file\n")
    assert secret_file.read_bytes() == before


def test_a_secret_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(length: int) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rowcast_server.token_command.secrets.token_urlsafe", full)
    assert main(["token", "--new-secret", str(tmp_path / "secrets")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_token_is_for_an_hour_and_for_all(secret_file: Path, capsys: Captured) -> None:
    before = time.time()
    grant = Access(secrets=secret_file).grant(signed(capsys, secret_file, "--subject", "alice"))
    assert (grant.subject, grant.may_draw, grant.may_watch) == ("alice", True, True)
    assert grant.expires is not None
    assert before + 3_599 <= grant.expires <= time.time() + 3_600


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("1s", 1), ("90s", 90), ("15m", 900), ("8h", 28_800), ("7d", 604_800), ("365d", 31_536_000)],
)
def test_it_ends_when_it_was_said_to(
    secret_file: Path, capsys: Captured, typed: str, seconds: int
) -> None:
    token = signed(capsys, secret_file, "--subject", "a", "--expires", typed)
    made = time.time()
    assert Access(secrets=secret_file, clock=lambda: made - 3).grant(token)
    with pytest.raises(ExpiredToken):
        Access(secrets=secret_file, clock=lambda: made + seconds).grant(token)


@pytest.mark.parametrize(
    ("typed", "draw", "watch"),
    [("draw", True, False), ("watch", False, True), ("watch,draw", True, True)],
)
def test_it_allows_what_it_was_said_to(
    secret_file: Path, capsys: Captured, typed: str, draw: bool, watch: bool
) -> None:
    token = signed(capsys, secret_file, "--subject", "a", "--rights", typed)
    grant = Access(secrets=secret_file).grant(token)
    assert (grant.may_draw, grant.may_watch) == (draw, watch)


def test_the_first_secret_of_a_file_signs(
    secret_file: Path, tmp_path: Path, capsys: Captured
) -> None:
    both = tmp_path / "both"
    both.write_text("n" * 32 + "\n" + secret_file.read_text())
    (tmp_path / "first").write_text("n" * 32)
    token = signed(capsys, both, "--subject", "a")
    assert Access(secrets=tmp_path / "first").grant(token)


@pytest.mark.parametrize(
    "words",
    [
        ["--subject", ""],
        ["--subject", "a\nb"],
        ["--subject", "x" * 129],
        ["--expires", "1"],
        ["--expires", "0s"],
        ["--expires", "-1h"],
        ["--expires", "1.5h"],
        ["--expires", "366d"],
        ["--expires", "٣h"],
        ["--rights", ""],
        ["--rights", "draw, watch"],
    ],
)
def test_a_wrong_value_is_a_usage_error(
    secret_file: Path, capsys: Captured, words: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["token", "--secret-file", str(secret_file), "--subject", "a", *words])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error: argument {words[0]}: " in err
