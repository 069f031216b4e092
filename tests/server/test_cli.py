"""`rowcast serve` as a process: what it prints, how it ends, what it says when it cannot start."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.raw_client import (
    COMPLETE,
    GOAWAY,
    HELLO,
    PATIENCE,
    Client,
    connected,
)

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


@contextmanager
def serving(model: Path, *options: str, quiet: bool = True, **variables: str) -> Iterator[Serving]:
    words = ["--quiet"] if quiet else []
    process = subprocess.Popen(
        [*ROWCAST, "serve", "--model", str(model), "--port=0", "--http-port=0", *words, *options],
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


def failing(model: Path | str, *options: str) -> str:
    """What it says on stderr, as a process that does not start."""
    ended = subprocess.run(
        [
            *ROWCAST,
            "serve",
            "--quiet",
            "--model",
            str(model),
            "--port=0",
            "--http-port=0",
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    return ended.stderr


def one_line(stderr: str) -> str:
    assert stderr.startswith("rowcast serve: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1, stderr
    return stderr


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

    async def test_the_files_announced_are_served(self, server: Serving) -> None:
        async with connected(server.ws_url) as client:
            ((*_, files),) = client.welcome[2]
            kind, precision, size, _, url = files[0]
        assert (kind, precision) == ("full", "fp32")
        assert url.startswith(server.http_url)
        async with httpx.AsyncClient(trust_env=False) as http:
            assert len((await http.get(url)).content) == size
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

    def test_a_file_without_a_token_would_admit_everybody(
        self, tiny_folder: Path, tmp_path: Path, refusal: Callable[..., str]
    ) -> None:
        for content in ("", "\n \n"):
            (tmp_path / "tokens").write_text(content)
            stderr = refusal(tiny_folder, "--token-file", str(tmp_path / "tokens"))
            assert "holds no token" in one_line(stderr)

    def test_a_file_that_cannot_be_read_is_named(
        self, tiny_folder: Path, tmp_path: Path, refusal: Callable[..., str]
    ) -> None:
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00token")
        for name in ("missing", ".", "binary"):
            path = tmp_path / name
            assert str(path) in one_line(refusal(tiny_folder, "--token-file", str(path)))


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


class TestCannotStart:
    @pytest.mark.parametrize("option", ["--port", "--http-port"])
    def test_a_port_in_use_is_one_clear_line(self, tiny_folder: Path, option: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            stderr = one_line(failing(tiny_folder, f"{option}={port}"))
        assert f"port {port}" in stderr
        assert "cannot listen" in stderr
        assert stderr.endswith(f"is another server running? choose another port with {option}\n")

    def test_an_address_that_is_not_ours_is_one_clear_line(self, tiny_folder: Path) -> None:
        stderr = one_line(failing(tiny_folder, "--host=192.0.2.1"))
        assert "192.0.2.1" in stderr
        assert stderr.endswith("; --host must name an address of this machine\n")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--device=cpu", "--dtype=float16"], "on the CPU take bfloat16"),
            (["--device=tpu"], "choose cpu, cuda, cuda:N, mps or auto"),
            (["--device=cuda:99"], "--device cuda:99: t"),  # torch sees none, or: there are fewer
        ],
    )
    def test_a_device_that_cannot_be_had_is_one_clear_line(
        self, tiny_folder: Path, options: list[str], words: str
    ) -> None:
        assert words in one_line(failing(tiny_folder, *options))

    def test_an_unknown_model_is_named(self, tmp_path: Path) -> None:
        stderr = failing(tmp_path / "no-such-model")
        assert "Traceback" not in stderr
        assert stderr.startswith("rowcast serve: unknown model")
        assert "no-such-model" in stderr

    @pytest.mark.parametrize(
        "options",
        [
            ["--slots=0"],
            ["--port=65536"],
            ["--queue=-1"],
            ["--threads=x"],
            ["--threads=0"],
            ["--deadline=0"],
            ["--deadline=nan"],
            ["--grace=-1"],
            ["--keep=1e300"],
            ["--drain=inf"],
            ["--port=7000", "--http-port=7000"],
            ["--public-url=foo"],
            ["--public-url=ws://foo"],
            ["--public-url=//foo"],
            ["--public-url=https://"],
            ["--public-url=https://foo:x/"],
            ["--public-url=https://foo/?a=b"],
            ["--public-url=https://user:secret@foo"],
            ["--draft-window=17"],
            ["--cache=all"],
            ["--no-such"],
        ],
    )
    def test_a_wrong_option_is_a_usage_error(
        self, tiny_folder: Path, options: list[str], refusal: Callable[..., str]
    ) -> None:
        assert "usage: rowcast serve" in refusal(tiny_folder, *options, code=2)

    @pytest.mark.parametrize("option", ["--draft-window=4", "--cache=states"])
    def test_what_torch_cannot_do_is_refused(
        self, tiny_folder: Path, option: str, refusal: Callable[..., str]
    ) -> None:
        options = "--device=cpu", "--dtype=bfloat16", option
        assert "is for the CPU, in float32 or int8" in refusal(tiny_folder, *options, code=2)


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def settings(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "weights cut short": ("decoder.safetensors", lambda path: cut(path, 0.9)),
    "a header cut short": ("encoder.safetensors", lambda path: cut(path, 0.001)),
    "an empty file": ("decoder.safetensors", lambda path: cut(path, 0)),
    "no encoder": ("encoder.safetensors", Path.unlink),
    "no vocabulary": ("vocab.json", Path.unlink),
    "settings cut short": ("model.json", lambda path: cut(path, 0.5)),
    "a vocabulary cut short": ("vocab.json", lambda path: cut(path, 0.5)),
    "merges that are no text": ("merges.txt", lambda path: path.write_bytes(b"\xff\xfe\n")),
    "more rows than the weights have": ("model.json", lambda path: settings(path, rows=5)),
    "more codes than the weights have": (
        "model.json",
        lambda path: settings(path, codebook_size=98),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_folder_is_told_and_named(
    tiny_folder: Path, tmp_path: Path, damage: str, refusal: Callable[..., str]
) -> None:
    file, harm = DAMAGE[damage]
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    harm(folder / file)
    stderr = refusal(folder, "--quiet")
    assert stderr.startswith("rowcast serve: ")
    assert str(folder) in stderr
