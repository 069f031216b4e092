"""Detokenizer files over real HTTP, from servers that do well, badly, and on purpose badly."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from rowcast.cache import default_cache
from rowcast.errors import DetokenizerError
from rowcast.messages import DetokenizerFile
from rowcast.picture import detokenizer_file
from rowcast.pixels import http_client
from rowcast.pixels.artifacts import cached_path, fetch, obtain
from rowcast.pixels.loader import TierLoader

from tests.support.fake_server import MODEL
from tests.support.site import CONTENT, SHA256, Answer, Handler, sends, site

SERVER = "ws://127.0.0.1:8765"

PART = f"{SHA256.hex()}.onnx.part"


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


# Files that are what they should be


def test_a_file_is_fetched_once_and_kept_under_its_name(own_cache: Path) -> None:
    with site(sends(CONTENT)) as web:
        paths = [fetch(web.file(), SERVER) for _ in range(3)]
    assert web.requests == 1
    assert set(paths) == {own_cache / f"{SHA256.hex()}.onnx"} == {cached_path(SHA256)}
    assert paths[0].read_bytes() == CONTENT
    assert left_in(own_cache) == [paths[0].name]


def test_a_cache_of_ones_own(tmp_path: Path, own_cache: Path) -> None:
    with site(sends(CONTENT)) as web:
        path = fetch(web.file(), SERVER, cache=tmp_path / "deep" / "er")
    assert path.parent == tmp_path / "deep" / "er"
    assert default_cache() == own_cache
    assert not own_cache.exists()


def test_an_address_relative_to_the_websocket() -> None:
    with site(sends(CONTENT)) as web:
        server = web.url.replace("http:", "ws:").replace("/detokenizer.onnx", "/path?x=1")
        assert fetch(web.file("/other.onnx"), server).read_bytes() == CONTENT


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    with site(sends(CONTENT)) as web:
        fetch(web.file(), SERVER, progress=lambda *numbers: told.append(numbers))
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_two_threads_at_once_download_once(own_cache: Path) -> None:
    paths: list[Path] = []
    go_on = threading.Event()

    def answer(handler: Handler) -> None:
        assert go_on.wait(10)
        sends(CONTENT)(handler)

    with site(answer) as web:
        threads = [
            threading.Thread(target=lambda: paths.append(fetch(web.file(), SERVER)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.2)  # the other one waits by now
        go_on.set()
        for thread in threads:
            thread.join()
    assert web.requests == 1
    assert [path.read_bytes() == CONTENT for path in paths] == [True, True]
    assert left_in(own_cache) == [paths[0].name]


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT[:-1] + b"x", CONTENT + b"x"])
def test_a_file_damaged_in_the_cache_is_fetched_anew(damage: bytes) -> None:
    with site(sends(CONTENT)) as web:
        path = fetch(web.file(), SERVER)
        path.write_bytes(damage)
        assert fetch(web.file(), SERVER) == path
    assert path.read_bytes() == CONTENT
    assert web.requests == 2


def test_a_damaged_file_is_never_given_out_while_its_server_is_away() -> None:
    with site(sends(CONTENT)) as web:
        path = fetch(web.file(), SERVER)
    path.write_bytes(b"damaged")
    with pytest.raises(DetokenizerError, match="cannot be fetched"):
        fetch(web.file(), SERVER)


# Servers that lie


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        pytest.param(sends(CONTENT[:-1]), "ended after 255999 of 256000", id="shorter"),
        pytest.param(sends(CONTENT + b"x"), "larger than the announced 256000", id="longer"),
        pytest.param(sends(CONTENT[:-1] + b"x"), "not the announced file", id="other bytes"),
        pytest.param(sends(b"no", status=404), "status 404", id="not there"),
        pytest.param(sends(b"oh", status=500), "status 500", id="broken"),
        pytest.param(sends(CONTENT, status=206), "status 206", id="a part"),
        pytest.param(
            sends(b"", status=302, Location="http://localhost:1/"), "status 302", id="redirect"
        ),
        pytest.param(
            sends(gzip.compress(CONTENT), Content_Encoding="gzip"), "ended after", id="compressed"
        ),
    ],
)
def test_a_server_that_lies(own_cache: Path, answer: Answer, fault: str) -> None:
    with site(answer) as web:
        with pytest.raises(DetokenizerError, match=fault) as caught:
            fetch(web.file(), SERVER)
        assert web.url in str(caught.value)
        assert left_in(own_cache) == []


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"x"], ids=["cut", "tampered"])
def test_a_refusal_names_the_file_and_both_checksums(content: bytes) -> None:
    with site(sends(content)) as web, pytest.raises(DetokenizerError) as caught:
        fetch(web.file(), SERVER)
    told = str(caught.value)
    assert web.url in told
    assert f"sha256 {hashlib.sha256(content).hexdigest()}, announced {SHA256.hex()}" in told


def test_a_damaged_copy_is_told_with_both_checksums(caplog: pytest.LogCaptureFixture) -> None:
    with site(sends(CONTENT)) as web:
        path = fetch(web.file(), SERVER)
        path.write_bytes(b"damaged")
        fetch(web.file(), SERVER)
    found = hashlib.sha256(b"damaged").hexdigest()
    assert f"{path} is damaged (sha256 {found}, announced {SHA256.hex()})" in caplog.text


def test_no_more_is_read_than_was_announced(own_cache: Path) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(CONTENT)

    with site(endless) as web, pytest.raises(DetokenizerError, match="larger than the announced"):
        fetch(web.file(), SERVER)
    assert left_in(own_cache) == []


def test_a_compressed_answer_is_not_blown_up(own_cache: Path) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with site(sends(bomb, Content_Encoding="gzip")) as web:
        file = replace(web.file(), bytes=len(bomb))
        with pytest.raises(DetokenizerError, match="not the announced file"):
            fetch(file, SERVER)
    assert left_in(own_cache) == []


def test_a_server_that_falls_silent(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setattr(http_client, "TIMEOUT_SECONDS", 0.2)
    over = threading.Event()

    def stall(handler: Handler) -> None:
        sends(CONTENT[:1_000], len(CONTENT))(handler)
        over.wait(10)

    with site(stall) as web:
        begun = time.monotonic()
        with pytest.raises(DetokenizerError, match="cannot be fetched: timed out"):
            fetch(web.file(), SERVER)
        assert time.monotonic() - begun < 5
        over.set()
    assert left_in(own_cache) == [PART]


def test_nothing_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/x.onnx"
        with pytest.raises(DetokenizerError, match="cannot be fetched"):
            fetch(DetokenizerFile("full", "fp32", 5, SHA256, url), SERVER)


# Where a client may fetch from


def test_another_host_is_asked_only_where_its_user_allows_it() -> None:
    with site(sends(CONTENT)) as web:
        file = web.file(web.url.replace("127.0.0.1", "localhost"))
        with pytest.raises(DetokenizerError, match="--allow-host") as caught:
            fetch(file, SERVER)
        assert "another host" in str(caught.value)
        assert web.requests == 0
        assert fetch(file, SERVER, allowed_hosts=["localhost"]).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "server", "fault"),
    [
        ("http://127.0.0.1:1/x", "wss://127.0.0.1:1", "is no https address"),
        ("//127.0.0.1/x", "ftp://127.0.0.1:1", "cannot be fetched|is no http"),
        ("file:///etc/passwd", SERVER, "is no http"),
        ("ftp://127.0.0.1/x", SERVER, "is no http"),
        ("javascript:alert(1)", SERVER, "is no http"),
        ("http://[::1/x", SERVER, "is no address"),
        ("http://127.0.0.1:99999/x", SERVER, "cannot be fetched"),
        ("http://example.org@elsewhere.example/x", SERVER, "another host"),
        ("//elsewhere.example/x", SERVER, "another host"),
        ("http:///x", SERVER, "cannot be fetched"),
        ("http://127.0.0.1.evil.example/x", SERVER, "another host"),
        (" ", SERVER, "cannot be fetched"),
    ],
)
def test_an_address_that_we_may_not_or_cannot_fetch(url: str, server: str, fault: str) -> None:
    with pytest.raises(DetokenizerError, match=fault):
        fetch(DetokenizerFile("full", "fp32", 5, SHA256, url), server.replace("8765", "1"))


# Which file


def test_the_file_is_of_the_kind_and_the_first_precision_that_there_is() -> None:
    def file(kind: str, precision: str) -> DetokenizerFile:
        return DetokenizerFile(kind, precision, 1, SHA256, "x")

    files = [file("full", "int8"), file("palette", "uint8"), file("full", "fp16")]
    model = replace(MODEL, files=files)
    assert detokenizer_file(model, "full") == files[2]
    exact = file("full", "fp32")
    assert detokenizer_file(replace(model, files=[*files, exact]), "full") == exact
    assert detokenizer_file(model, "full", ("int8", "fp16")) == files[0]
    assert detokenizer_file(model, "palette", ("uint8",)) == files[1]


def test_kinds_and_precisions_that_we_do_not_know_are_told() -> None:
    file = DetokenizerFile("full", "fp4", 1, SHA256, "x")
    with pytest.raises(DetokenizerError, match=r"offers no full detokenizer .*: full fp4"):
        TierLoader(SERVER).load(replace(MODEL, files=[file]))
    with pytest.raises(DetokenizerError, match="none"):
        TierLoader(SERVER).load(MODEL)


@pytest.mark.parametrize(
    ("kind", "size"), [("palette", 2**20 + 1), ("preview", 2**28 + 1), ("full", 10_000_000_000)]
)
def test_what_no_file_of_its_kind_can_be_is_not_fetched(
    kind: str, size: int, tmp_path: Path
) -> None:
    file = DetokenizerFile(kind, "fp32", size, bytes(32), "http://127.0.0.1:9/file.onnx")
    for get in (fetch, obtain):
        with pytest.raises(DetokenizerError, match=f"announced with {size} bytes; .* at most"):
            get(file, "ws://127.0.0.1:9", (), tmp_path)
    assert list(tmp_path.iterdir()) == []
