"""The gateway that a server keeps up: one port more, and nothing of it left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import openai
import pytest
from rowcast.errors import RowcastError
from rowcast_server.config import ServerConfig
from rowcast_server.gateway.openai_process import OpenaiProcess
from rowcast_server.server import RowcastServer

from tests.support.client.openai_calls import PROMPT
from tests.support.servers import running_server


def processes(parent: int) -> list[int]:
    """The children of a process that run, by number."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, number = entry.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has just ended
        if int(number) == parent and state != "Z":
            found.append(int(entry.parent.name))
    return found


def test_a_server_has_it_at_a_port_of_its_own(tiny_folder: Path) -> None:
    before = processes(os.getpid())
    with running_server(tiny_folder, openai_port=0) as server:
        (line,) = [each for each in server.summary if each.startswith("openai")]
        url = line.split()[1]
        with openai.OpenAI(base_url=url, api_key="any") as client:
            answer = client.images.generate(prompt=PROMPT)
            assert answer.data
            assert answer.data[0].b64_json
    assert processes(os.getpid()) == before
    with (
        openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client,
        pytest.raises(openai.APIConnectionError),
    ):
        client.models.list()


async def test_one_that_dies_is_started_again_at_its_port(
    tiny_server: RowcastServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rowcast_server.gateway.openai_process.AGAIN_SECONDS", 0.1)
    before = processes(os.getpid())
    process = OpenaiProcess(tiny_server.ws_url, "127.0.0.1", 0)
    await process.start()
    try:
        (number,) = {*processes(os.getpid())} - {*before}
        os.kill(number, signal.SIGKILL)
        async with (
            asyncio.timeout(30),
            openai.AsyncOpenAI(base_url=process.url, api_key="any", max_retries=0) as client,
        ):
            while True:
                try:
                    models = await client.models.list()
                    break
                except openai.APIConnectionError:
                    await asyncio.sleep(0.05)
        assert len(models.data) == 1
        assert "has ended with -9; starting another" in caplog.text
    finally:
        await process.close()
    assert processes(os.getpid()) == before


async def test_a_port_that_is_taken_is_told(
    tiny_server: RowcastServer, capfd: pytest.CaptureFixture[str]
) -> None:
    _, _, taken = tiny_server.http_url.rpartition(":")
    process = OpenaiProcess(tiny_server.ws_url, "127.0.0.1", int(taken))
    with pytest.raises(RowcastError, match=rf"^--openai {taken}: `rowcast openai` did not start$"):
        await process.start()
    await process.close()
    said = capfd.readouterr().err
    assert f"--host 127.0.0.1 --port {taken}: " in said
    assert "Traceback" not in said


def test_it_goes_the_way_that_clients_go(tiny_folder: Path) -> None:
    """Files may come from the public URL, pages may call it that may draw."""
    with running_server(tiny_folder, host="0.0.0.0", open=True) as server:
        assert server._openai_process(0)._words[0].startswith("ws://127.0.0.1:")
    assert ServerConfig().openai_port is None
