"""`rowcast serve` as a process: what it prints, how it ends, what it says when it cannot start."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from rowcast.messages import view_key
from rowcast.terminal.install_hints import command_name
from rowcast_server.models.loading import load
from rowcast_server.models.revision import revision_in

from tests.support.raw_client import (
    COMPLETE,
    GOAWAY,
    HELLO,
    PATIENCE,
    Client,
    connected,
)
from tests.support.tiny_model import tiny_model

ROWCAST = [sys.executable, "-m", "rowcast"]


def environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if name != "ROWCAST_TOKENS"}
    return clean | variables


class Serving:
    """A running server; `stop` asks it to end and returns (exit code, the rest of its output)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.line = process.stdout.readline()
        word, self.ws_url, self.http_url = self.line.split(" ")
        assert word == "ready"
        self.http_url = self.http_url.rstrip("\n")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


# The command where the system lacks what Windows lacks.
ON_WINDOWS = """
import asyncio, os, signal, sys

def refuse(*_):
    raise NotImplementedError

asyncio.SelectorEventLoop.add_signal_handler = refuse
for module, name in ((signal, "SIGHUP"), (signal, "pthread_kill"), (os, "sched_getaffinity")):
    if hasattr(module, name):
        delattr(module, name)
from rowcast.cli import main
sys.exit(main())
"""


@contextmanager
def serving(
    model: Path,
    *options: str,
    quiet: bool = True,
    command: Sequence[str] = ROWCAST,
    **variables: str,
) -> Iterator[Serving]:
    words = ["--quiet"] if quiet else []
    process = subprocess.Popen(
        [*command, "serve", f"--model={model}", "--port=0", *words, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )
    try:
        yield Serving(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server(tiny_folder: Path) -> Iterator[Serving]:
    with serving(tiny_folder) as server:
        yield server


class TestRunning:
    async def test_one_line_says_ready_and_jobs_are_taken_at_once(self, server: Serving) -> None:
        assert server.line == f"ready {server.ws_url} {server.http_url}\n"
        async with connected(server.ws_url) as client:
            await client.start(0)
            picture = await client.picture(0)
        assert picture.reason == COMPLETE
        assert len(picture.ids) == 4 * 4 * 2

    async def test_at_the_start_it_says_what_it_serves_where_on_what_and_to_whom(
        self, tiny_folder: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "tokens").write_text("first\nsecond\n")
        options = "--device=cpu", "--cache=states", "--threads=1", "--slots=3", "--queue=5"
        for more, whom in (
            ([], "all who reach it"),
            ([f"--token-file={tmp_path / 'tokens'}"], "who has one of 2 tokens"),
        ):
            with serving(tiny_folder, *options, *more, quiet=False) as server:
                code, out, err = server.stop()
            revision = revision_in("float32, states", load(str(tiny_folder)).revision).hex()
            assert (code, out) == (0, "")
            assert err.splitlines() == [
                f"loading {tiny_folder} …",
                "tiny has no preview for light clients; teach one with: "
                f"{command_name()} prepare {tiny_folder} -o DIR",
                f"serves  tiny, revision {revision}",
                f"at      {server.ws_url}",
                "on      cpu, float32, cache of states, threads: 1",
                "draws   3 pictures at once; 5 more may wait",
                f"admits  {whom}",
            ]

    async def test_its_log_tells_connections_pictures_and_downloads_and_no_secret(
        self, tiny_folder: Path
    ) -> None:
        with serving(tiny_folder, "--verbose", ROWCAST_TOKENS="s3cret") as server:
            async with connected(server.ws_url, "s3cret") as client:
                key = await client.start(0, "a red house at night", images=2, seed=77)
                for stream in range(2):
                    assert (await client.picture(stream)).reason == COMPLETE
                files = client.welcome[2][0][8]
                await client.connection.send("text")
                assert await client.close_code() == 4400
            async with httpx.AsyncClient(trust_env=False) as http:
                await http.get(f"{server.http_url}/{files[0][4]}")
            _, _, err = server.stop()
        for said in (
            "connected",
            "hello from 'raw'",
            "picture 0 accepted: image 0 of seed 77",
            "picture 1 ended: complete, 4 rows, waited ",
            "drawn in ",
            "4400",
            "GET /detokenizer/{name}: 200, ",
            "left after ",
        ):
            assert said in err, said
        for kept in ("s3cret", "red house", key.hex(), view_key(key).hex()):
            assert kept not in err, kept

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_it_serves_and_stops_where_the_loop_takes_no_signals_as_on_windows(
        self, tiny_folder: Path, number: int
    ) -> None:
        with serving(tiny_folder, command=[sys.executable, "-c", ON_WINDOWS]) as server:
            async with connected(server.ws_url) as client:
                await client.start(0)
                assert (await client.picture(0)).reason == COMPLETE
            assert await asyncio.to_thread(server.stop, number) == (0, "", "")

    def test_ctrl_c_while_a_model_loads_ends_it_with_a_word(self, tiny_folder: Path) -> None:
        with subprocess.Popen(
            [*ROWCAST, "serve", f"--model={tiny_folder}", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == f"loading {tiny_folder} …\n"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE) == ("", "\nrowcast: stopped\n")
        assert process.returncode == 130

    async def test_a_picture_has_its_time_and_a_second_signal_does_not_wait(
        self, tmp_path: Path
    ) -> None:
        """The picture is of 4096 tokens, so that it takes longer than the test."""
        folder = tiny_model(tmp_path / "model", rows=64, cols=64, width=128, decoder_layers=8)
        with serving(folder, "--drain=3600", quiet=False) as server:
            async with connected(server.ws_url) as client:
                await client.start(0)
                await client.rows(0, 128)
                server.process.send_signal(signal.SIGTERM)
                while (message := await client.take())[0] != GOAWAY:
                    pass
                assert message == [GOAWAY, 3_600_000]
                before = len(client.streams[0].ids)
                await client.rows(0, before + 128)  # it is drawn on
                ended = asyncio.create_task(asyncio.to_thread(server.stop, signal.SIGINT))
                assert await client.close_code() == 1001
                code, out, err = await ended
        assert (code, out) == (0, "")
        last = "stopping: pictures have 3600 s to end; Ctrl-C again stops at once"
        assert err.splitlines()[-1] == last

    async def test_the_files_announced_are_served(self, server: Serving) -> None:
        async with connected(server.ws_url) as client:
            ((*_, files),) = client.welcome[2]
            kind, precision, size, _, url = files[0]
        assert (kind, precision) == ("full", "fp32")
        assert server.http_url == server.ws_url.replace("ws", "http")
        async with httpx.AsyncClient(trust_env=False) as http:
            assert len((await http.get(f"{server.http_url}/{url}")).content) == size
            assert (await http.get(f"{server.http_url}/readyz")).status_code == 200

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_a_signal_ends_it_and_the_clients_are_told(
        self, tiny_folder: Path, number: int
    ) -> None:
        with serving(tiny_folder) as server:
            async with connected(server.ws_url) as client, connected(server.ws_url) as idle:
                await client.start(0, images=8)
                ended = asyncio.create_task(asyncio.to_thread(server.stop, number))
                told = await until_goaway(client)
                assert await client.close_code() == 1001
                assert await until_goaway(idle) == []
                assert await idle.close_code() == 1001
                assert await ended == (0, "", "")
        assert all(tag != GOAWAY for tag in told)

    async def test_another_dtype_is_drawn_by_torch(self, tiny_folder: Path) -> None:
        with serving(tiny_folder, "--device=cpu", "--dtype=bfloat16", "--slots=2") as server:
            async with connected(server.ws_url) as client:
                await client.start(0)
                picture = await client.picture(0)
            assert (picture.reason, len(picture.ids)) == (COMPLETE, 4 * 4 * 2)
            assert await asyncio.to_thread(server.stop) == (0, "", "")

    async def test_another_cache_is_another_revision(self, tiny_folder: Path) -> None:
        revisions = set()
        for options in ([], ["--cache=states"], ["--cache=keys-values"]):
            with serving(tiny_folder, "--device=cpu", *options) as server:
                async with connected(server.ws_url) as client:
                    await client.start(0)
                    picture = await client.picture(0)
                assert picture.reason == COMPLETE
                assert picture.accepted is not None
                revisions.add(picture.accepted[2])
                assert await asyncio.to_thread(server.stop) == (0, "", "")
        assert len(revisions) == 2

    async def test_hostile_connections_leave_no_word_on_the_terminal(
        self, tiny_folder: Path
    ) -> None:
        with serving(tiny_folder) as server:
            port = int(server.ws_url.rpartition(":")[2])
            for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 99, b""):
                with socket.create_connection(("127.0.0.1", port)) as bare:
                    bare.sendall(data)
            async with connected(server.ws_url) as client:
                await client.connection.send("text")
                assert await client.close_code() == 4400
            async with connected(server.ws_url) as client:
                await client.start(0)
                client.connection.transport.abort()
            assert server.stop() == (0, "", "")


async def until_goaway(client: Client) -> list[int]:
    """The tags before it."""
    tags: list[int] = []
    while (message := await client.receive())[0] != GOAWAY:
        tags.append(message[0])
    return tags


class TestTokens:
    async def test_of_a_file(self, tiny_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "tokens").write_text("first\n  second \n\n", "utf-8")
        with serving(tiny_folder, "--token-file", str(tmp_path / "tokens")) as server:
            await only(server, {"first": True, "second": True, None: False, "": False, "f": False})

    async def test_of_the_environment(self, tiny_folder: Path) -> None:
        with serving(tiny_folder, ROWCAST_TOKENS="first second") as server:
            await only(server, {"first": True, "second": True, "first second": False, None: False})
            assert server.stop(signal.SIGINT) == (0, "", ""), "an idle server ends as well"


async def only(server: Serving, admitted: dict[str | None, bool]) -> None:
    for token, welcome in admitted.items():
        async with connected(server.ws_url, greet=False) as client:
            await client.send(HELLO, token, "test")
            if welcome:
                await client.start(0)
                await client.receive()
                assert (await client.picture(0)).reason == COMPLETE
            else:
                assert await client.close_code() == 4403
