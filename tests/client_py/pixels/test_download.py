"""Downloads that are cut, shared, or have no place: every one ends with the right bytes."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rowcast.errors import DetokenizerError
from rowcast.pixels import download, http_client
from rowcast.pixels.artifacts import cached_path, fetch, obtain
from rowcast_server.gateway.files import file_name

from tests.support.fakes import Studio, open_gateway
from tests.support.site import CONTENT, SHA256, Handler, sends, sends_ranges, site

SERVER = "ws://127.0.0.1:8765"
FETCH = (  # a program that fetches CONTENT from the address it is given
    "import sys\n"
    "from rowcast.pixels.artifacts import fetch\n"
    "from rowcast.messages import DetokenizerFile\n"
    f"file = DetokenizerFile('full', 'fp32', {len(CONTENT)}, bytes.fromhex('{SHA256.hex()}'),"
    " sys.argv[1])\n"
    f"print(fetch(file, '{SERVER}'))\n"
)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RETRY_WAITS_SECONDS", (0.01, 0.02))


@pytest.fixture
def part(own_cache: Path) -> Path:
    """Where a download that was cut off is left."""
    own_cache.mkdir()
    return own_cache / f"{SHA256.hex()}.onnx.part"


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def program(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Cut off


@pytest.mark.parametrize("cut", [1, 1_000, 65_535, 65_536, 65_537, len(CONTENT) - 1])
def test_a_download_goes_on_where_it_was_cut(own_cache: Path, cut: int) -> None:
    with site(sends_ranges([cut])) as web:
        path = fetch(web.file(), SERVER)
    assert web.ranges == [None, f"bytes={cut}-"]
    assert path.read_bytes() == CONTENT
    assert left_in(own_cache) == [path.name]


def test_a_download_that_is_cut_again_and_again() -> None:
    with site(sends_ranges([20_000] * 12)) as web:
        assert fetch(web.file(), SERVER).read_bytes() == CONTENT
    assert web.ranges == [None, *(f"bytes={20_000 * n}-" for n in range(1, 13))]


def test_what_was_fetched_of_a_download_that_failed_is_not_fetched_again(part: Path) -> None:
    with site(sends_ranges([9_000, 0, 0])) as web:
        with pytest.raises(DetokenizerError, match="cannot be fetched"):
            fetch(web.file(), SERVER)
        assert part.read_bytes() == CONTENT[:9_000]
        assert fetch(web.file(), SERVER).read_bytes() == CONTENT
    assert web.ranges[-1] == "bytes=9000-"
    assert left_in(part.parent) == [part.with_suffix("").name]


def test_a_server_without_ranges_sends_all_again() -> None:
    cuts = [len(CONTENT) - 9]

    def answer(handler: Handler) -> None:
        sends(CONTENT[: cuts.pop()] if cuts else CONTENT, len(CONTENT))(handler)

    with site(answer) as web:
        assert fetch(web.file(), SERVER).read_bytes() == CONTENT
    assert web.requests == 2


def test_another_range_than_was_asked_for_is_not_taken(part: Path) -> None:
    part.write_bytes(CONTENT[:100])
    wrong = sends(CONTENT[5:], status=206, Content_Range=f"bytes 5-/{len(CONTENT)}")
    with site(wrong) as web, pytest.raises(DetokenizerError, match="another range"):
        fetch(web.file(), SERVER)


def test_a_process_that_was_killed_is_followed_by_one_that_goes_on(part: Path) -> None:
    stalled, go_on = 100_000, threading.Event()

    def answer(handler: Handler) -> None:
        if handler.headers.get("Range") is None:
            sends(CONTENT[:stalled], len(CONTENT))(handler)
            go_on.wait(20)
        else:
            sends_ranges([])(handler)

    with site(answer) as web:
        first = program(web.url)
        until(lambda: part.exists() and part.stat().st_size > 0)
        waiting: list[Path] = []
        second = threading.Thread(target=lambda: waiting.append(fetch(web.file(), SERVER)))
        second.start()  # waits for the first
        time.sleep(0.1)
        assert web.requests == 1
        first.kill()
        first.communicate()
        second.join(20)
        go_on.set()
    assert waiting[0].read_bytes() == CONTENT
    assert web.ranges[1] is not None
    assert 0 < int(web.ranges[1].removeprefix("bytes=").removesuffix("-")) <= stalled


@pytest.mark.parametrize("held", [b"nonsense", CONTENT + b"x", CONTENT[::-1]])
def test_a_beginning_of_something_else_is_thrown_away(part: Path, held: bytes) -> None:
    part.write_bytes(held)
    with site(sends_ranges([])) as web:
        assert fetch(web.file(), SERVER).read_bytes() == CONTENT
    assert web.ranges[-1] is None
    assert not part.exists()


def test_a_beginning_that_is_all_needs_no_server(part: Path) -> None:
    part.write_bytes(CONTENT)
    with site(sends(b"", status=500)) as web:
        assert fetch(web.file(), SERVER).read_bytes() == CONTENT
    assert web.requests == 0


@pytest.fixture
def begun(part: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(CONTENT)
    part.write_bytes(CONTENT[:70_000])


@pytest.mark.usefixtures("begun")
async def test_our_own_server_answers_ranges(tmp_path: Path) -> None:
    told: list[int] = []
    studio = Studio(loop=asyncio.get_running_loop())
    with site(sends(b"")) as web:  # for the announcement alone
        file = web.file(file_name(SHA256))  # beside the WebSocket
    async with open_gateway(studio, {SHA256: tmp_path / "model.onnx"}) as (_, url):
        path = await asyncio.to_thread(fetch, file, url, (), None, lambda got, _: told.append(got))
    assert path.read_bytes() == CONTENT
    assert min(told) > 70_000


# Two at once


def test_two_processes_at_once_end_with_one_good_file(own_cache: Path) -> None:
    go_on = threading.Event()

    def answer(handler: Handler) -> None:
        assert go_on.wait(20)
        sends(CONTENT)(handler)

    with site(answer) as web:
        both = [program(web.url), program(web.url)]
        until(lambda: web.requests > 0)
        time.sleep(0.3)
        go_on.set()
        answers = [each.communicate(timeout=30) for each in both]
    path = cached_path(SHA256)
    assert answers == [(f"{path}\n", "")] * 2
    assert path.read_bytes() == CONTENT
    assert left_in(own_cache) == [path.name]
    assert web.requests == 1


def test_somebody_who_stands_still_is_not_waited_for(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "TIMEOUT_SECONDS", 0.2)
    with part.open("a+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with site(sends(CONTENT)) as web:
            assert fetch(web.file(), SERVER).read_bytes() == CONTENT
    assert left_in(part.parent) == sorted([part.name, part.with_suffix("").name])


def test_whoever_waits_sees_how_far_the_other_is(part: Path) -> None:
    told: list[tuple[int, int]] = []
    with part.open("a+b") as held, site(sends_ranges([])) as web:
        held.write(CONTENT[:1_000])
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(
            target=fetch, args=[web.file(), SERVER, (), None, lambda *n: told.append(n)]
        )
        thread.start()
        until(lambda: told != [])
        fcntl.flock(held, fcntl.LOCK_UN)
        thread.join(20)
    assert told[0] == (1_000, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))


# No place to keep it


@pytest.fixture
def no_place(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"")
    return tmp_path / "file" / "cache"


def test_a_cache_that_cannot_be_made_is_told_or_done_without(
    no_place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with site(sends(CONTENT)) as web:
        with pytest.raises(DetokenizerError, match="cannot be kept"):
            fetch(web.file(), SERVER, cache=no_place)
        with caplog.at_level(logging.WARNING):
            assert obtain(web.file(), SERVER, cache=no_place) == CONTENT
    assert f"{cached_path(SHA256, no_place)} cannot be kept" in caplog.text
    assert "held in memory" in caplog.text


def test_a_cache_whose_place_is_taken(tmp_path: Path) -> None:
    cached_path(SHA256, tmp_path).mkdir()
    with site(sends(CONTENT)) as web:
        with pytest.raises(DetokenizerError, match="cannot be kept"):
            fetch(web.file(), SERVER, cache=tmp_path)
        assert obtain(web.file(), SERVER, cache=tmp_path) == CONTENT
    assert left_in(tmp_path) == [cached_path(SHA256).name]


def test_in_memory_too_a_file_is_checked_and_taken_up(no_place: Path) -> None:
    with site(sends_ranges([10])) as web:
        assert obtain(web.file(), SERVER, cache=no_place) == CONTENT
    assert web.ranges == [None, "bytes=10-"]
    with (
        site(sends(CONTENT[:-1] + b"x")) as web,
        pytest.raises(DetokenizerError, match="not the announced file"),
    ):
        obtain(web.file(), SERVER, cache=no_place)


def test_a_file_too_large_for_memory_is_not_held_there(no_place: Path) -> None:
    with (
        site(sends(CONTENT)) as web,
        pytest.raises(DetokenizerError, match="cannot be kept"),
    ):
        obtain(web.file(size=2**31), SERVER, cache=no_place)
    assert web.requests == 0


def test_a_full_disk_is_done_without(own_cache: Path) -> None:
    """A limit on the size of files, as a disk that is full after 100,000 bytes."""
    code = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    ) + FETCH.replace("import fetch", "import obtain").replace("print(fetch(", "print(len(obtain(")
    with site(sends(CONTENT)) as web:
        run = subprocess.run(
            [sys.executable, "-c", code.replace("'))", "')))"), web.url],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert run.stdout == f"{len(CONTENT)}\n", run.stderr
    assert "File too large" in run.stderr
    assert "held in memory" in run.stderr
    assert left_in(own_cache) == []  # nothing half-written fills the disk


@pytest.fixture
def read_only(own_cache: Path) -> Iterator[Path]:
    """A cache that holds the file and takes nothing."""
    own_cache.mkdir()
    cached_path(SHA256).write_bytes(CONTENT)
    os.chmod(own_cache, 0o500)
    yield own_cache
    os.chmod(own_cache, 0o700)


def test_a_cache_that_can_only_be_read_is_read(read_only: Path) -> None:
    with site(sends(b"", status=500)) as web:
        assert obtain(web.file(), SERVER) == cached_path(SHA256)
    assert web.requests == 0
