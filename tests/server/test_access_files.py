"""Files of tokens and of secrets: read again as they change, kept where they became faulty, and
never shown."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from rowcast.errors import RowcastError
from rowcast_server.access import Access, read_secrets, sign_token
from rowcast_server.errors import BadToken, ExpiredToken

from tests.server.test_access import NOW, OLDER, PUBLIC_KEY, SECRET, Clock

NEWER = "s3cret-" + "c" * 30
KIND = ("tokens", "secrets")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def access_of(kind: str, path: Path, clock: Clock) -> Access:
    return Access(path, clock=clock) if kind == "tokens" else Access(secrets=path, clock=clock)


def admits(access: Access, word: str) -> bool:
    """True if a word is a shared token, or a secret that signs."""
    try:
        for token in (word, sign_token(word.encode(), "alice", NOW + 60)):
            try:
                access.grant(token)
            except BadToken:
                continue
            return True
    except ExpiredToken:
        pass
    return False


# Reading again


@pytest.mark.parametrize("kind", KIND)
def test_a_file_that_changed_is_read_again_within_a_second(
    kind: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    path.write_text(f"{OLDER}\n")
    access = access_of(kind, path, clock)
    path.write_text(f"{SECRET}\n")  # of the same length, at once
    clock.now += 0.9
    assert [admits(access, word) for word in (OLDER, SECRET)] == [True, False]
    clock.now += 0.1
    assert [admits(access, word) for word in (OLDER, SECRET)] == [False, True]
    assert caplog.messages == [f"{path} was read again"]
    clock.now += 9
    assert admits(access, SECRET)
    assert len(caplog.messages) == 1, "it did not change"


def test_it_is_read_once_a_second_however_many_come(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    path.write_text(f"{SECRET}\n")
    access = Access(path, path, clock)
    opened = []
    real = Path.open

    def opening(self: Path, mode: str) -> IO[Any]:
        opened.append(self)
        return real(self, mode)

    monkeypatch.setattr(Path, "open", opening)
    for _ in range(100):
        clock.now += 0.05  # 5 seconds in all
        assert admits(access, SECRET)
    assert 4 <= len(opened) <= 5


def test_a_clock_that_was_set_back_does_not_keep_it_from_being_read(path: Path) -> None:
    clock = Clock()
    path.write_text(f"{OLDER}\n")
    access = Access(path, clock=clock)
    path.write_text(f"{SECRET}\n")
    clock.now -= 3_600
    assert admits(access, SECRET)


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FAULTS: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_text("\n \n"),
    "several words": lambda path: path.write_text(f"{SECRET}\n# s3cret-of Anna\n"),
    "no text": lambda path: path.write_bytes(b"s3cret-\xff\xfe\n"),
    "too long": lambda path: path.write_text("s3cret\n" * 200_000),
    "a folder": put_folder,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KIND)
def test_what_a_faulty_file_held_stays_in_force_with_one_warning(
    kind: str, fault: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    path.write_text(f"{SECRET}\n{OLDER}\n")
    access = access_of(kind, path, clock)
    FAULTS[fault](path)
    for _ in range(3):
        clock.now += 2
        assert all(admits(access, word) for word in (SECRET, OLDER))
    assert len(caplog.messages) == 1
    assert str(path) in caplog.text
    assert "what it held before stays in force" in caplog.text
    assert "s3cret" not in caplog.text
    if path.is_dir():
        path.rmdir()
    path.write_text(f"{NEWER}\n")
    clock.now += 2
    assert [admits(access, word) for word in (SECRET, NEWER)] == [False, True]
    FAULTS[fault](path)
    clock.now += 2
    assert admits(access, NEWER)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KIND)
def test_a_faulty_file_is_refused_at_the_start_and_not_shown(
    kind: str, fault: str, path: Path
) -> None:
    path.write_text(f"{SECRET}\n")
    FAULTS[fault](path)
    with pytest.raises((RowcastError, OSError)) as caught:
        access_of(kind, path, Clock())
    assert str(path) in str(caught.value)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None, "which may hold what the file does"


def test_a_pipe_is_read_once(caplog: pytest.LogCaptureFixture) -> None:
    """`--token-file <(…)`: to read it again would wait for ever."""
    reading, writing = os.pipe()
    try:
        os.write(writing, f"{SECRET}\n".encode())
        os.close(writing)
        clock = Clock()
        access = Access(Path(f"/dev/fd/{reading}"), clock=clock)
        clock.now += 60
        assert admits(access, SECRET)
        assert caplog.messages == []
    finally:
        os.close(reading)


# Secrets


def test_the_first_secret_signs_and_each_verifies(path: Path) -> None:
    clock = Clock()
    path.write_text(f"{OLDER}\n")
    access = Access(secrets=path, clock=clock)
    old = sign_token(read_secrets(path)[0], "alice", NOW + 60)
    path.write_text(f"{NEWER}\n{OLDER}\n")
    new = sign_token(read_secrets(path)[0], "bob", NOW + 60)
    clock.now += 2
    assert [access.grant(token).subject for token in (old, new)] == ["alice", "bob"]
    path.write_text(f"{NEWER}\n")
    clock.now += 2
    assert access.grant(new).subject == "bob"
    with pytest.raises(BadToken):
        access.grant(old)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3cret-" + "x" * 24, "line 1 of {} is shorter than 32 bytes"),
        (f"{SECRET}\n\n{'ü' * 15}\n", "line 3 of {} is shorter than 32 bytes"),
        (PUBLIC_KEY, "line 1 of {} has more than one word"),
        ('{"kty":"oct","k":"s3cretAAAAAAAAAAAAAAAAAAAAAAA"}', "line 1 of {} is a key of another"),
    ],
)
def test_what_is_no_secret_is_refused(path: Path, text: str, words: str) -> None:
    path.write_text(text)
    with pytest.raises(RowcastError) as caught:
        read_secrets(path)
    assert words.format(path) in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_32_bytes_are_enough(path: Path) -> None:
    path.write_text("ü" * 16)
    assert read_secrets(path) == (("ü" * 16).encode(),)


# Nothing is shown


def test_no_token_and_no_secret_is_in_a_log_an_error_or_a_repr(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    path.write_text(f"{SECRET}\n")
    access = Access({"s3cret-shared"}, path, clock)
    granted = [access.grant("s3cret-shared")]
    signed = sign_token(SECRET.encode(), "alice", NOW + 60)
    granted += [access.grant(signed)]
    shown = [repr(each) for each in (access, *vars(access).values(), *granted)]
    bad = ["s3cret-guess", "s3cret." * 2 + "s3cret", signed[:-9], "s3cret" * 999]
    bad += [sign_token(SECRET.encode(), "s3cret\n", NOW + 60), sign_token(b"x" * 32, "a", NOW)]
    bad += [sign_token(SECRET.encode(), "alice", NOW - 1)]
    for token in bad:
        with pytest.raises((BadToken, ExpiredToken)) as caught:
            access.grant(token)
        shown += [repr(caught.value), "".join(traceback.format_exception(caught.value))]
        assert caught.value.__context__ is None
    for text in (*shown, caplog.text):
        assert "s3cret" not in text
        assert not any(token in text for token in (signed, *bad))
