"""The conformance kit: our server and our client pass it, wrong ones do not, and it says all it
shows. tests/conformance/README.md tells what it is."""

from __future__ import annotations

import ast
import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rowcast_server.config import ServerConfig
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.network.facts import Network
from rowcast_server.placement import Placement
from rowcast_server.server import RowcastServer

from tests import document
from tests.conformance import command, frames, scripts
from tests.conformance.client_side import ClientPlayer
from tests.conformance.play import ADVISED, FAILED, NOT_APPLICABLE, PASSED, Result
from tests.conformance.run import Settings, run_client, run_server, stopper
from tests.conformance.scripts import VECTORS, Exchange, exchanges
from tests.conformance.stage import open_stage
from tests.conformance.values import Failed
from tests.support.conformance import wrong_client
from tests.support.conformance.wrong_server import FAULTS, Fault, wrong_server
from tests.support.servers import running_server
from tests.support.tiny_model import tiny_model, tiny_palette

KIT = document.ROOT / "tests" / "conformance"
PATIENCE = 20.0  # seconds: whoever runs tests may have no idle machine
STEP_SECONDS = 0.005  # of the engine, which draws a token of each picture with a step
TOKEN = "open sesame"
ADAPTER = f"{sys.executable} {KIT / 'adapters' / 'rowcast_client.py'}"
WRONG_ADAPTER = f"{sys.executable} -m tests.support.conformance.wrong_client"
PIPED_SERVER = f"{sys.executable} -m tests.support.conformance.piped_server"
SIDES = {side: exchanges(side, VECTORS) for side in scripts.SIDES}
ALL = [exchange for found in SIDES.values() for exchange in found]


class SlowRunner(OnnxRunner):
    """An engine without haste, so that there is time to cancel and to watch."""

    def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        time.sleep(STEP_SECONDS)
        return super().step(positions)


def make_runner(network: Network, config: ServerConfig, placement: Placement) -> OnnxRunner:
    return SlowRunner(network, config.slots, config.threads, placement.dtype, placement.cache)


@contextmanager
def slow_server(folder: Path, **settings: Any) -> Iterator[RowcastServer]:
    with running_server(folder, make_runner, streams=16, queue_limit=8, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tiny_model(tmp_path_factory.mktemp("painted"))
    tiny_palette(path / "palette.npy", codebook_size=96)
    return path


def settings_for(server: RowcastServer, **more: Any) -> Settings:
    return Settings(
        url=server.ws_url, prompt="a red boat", unreadable="日本", jobs=3, patience=PATIENCE, **more
    )


def told(results: list[Result]) -> dict[str, str]:
    """What did not pass, and why."""
    return {each.exchange.name: each.text for each in results if each.outcome != PASSED}


def only(side: str, *words: str) -> list[Exchange]:
    return scripts.chosen(SIDES[side], list(words))


# What passes


@pytest.mark.timeout(240)
def test_our_server_passes(folder: Path) -> None:
    with slow_server(folder) as server:
        results = asyncio.run(run_server(SIDES["server"], settings_for(server), lambda _: None))
    assert told(results).keys() == {
        *(each.name for each in SIDES["server"] if "token" in each.needs or each.last),
        "recovery/grace-is-over",  # these are of the servers below
        "vectors/start-longer-than-4096-bytes",  # this server takes a little more
    }
    assert {each.outcome for each in results} == {PASSED, NOT_APPLICABLE}


def test_our_server_passes_with_tokens_a_short_grace_and_when_it_stops(folder: Path) -> None:
    with slow_server(folder, tokens=frozenset({TOKEN}), grace=0.02) as server:
        (listener,) = server._gateway._listener._servers

        async def stop() -> None:  # as a signal does: the connections are told, and have a while
            asyncio.run_coroutine_threadsafe(server.close(20), listener.get_loop())

        settings = settings_for(server, token=TOKEN, stop=stop)
        chosen = only("server", "handshake", "pings", "recovery/grace")
        results = asyncio.run(run_server(chosen, settings, lambda _: None))
    assert told(results) == {"handshake/token-where-none-is-asked": "needs not token"}


def test_a_server_without_a_socket_is_reached_by_its_adapter() -> None:
    settings = Settings(adapter=PIPED_SERVER, prompt="a red boat", jobs=3, patience=PATIENCE)
    chosen = only("server", "handshake", "cancel", "malformed", "recovery", "pings")
    results = asyncio.run(run_server(chosen, settings, lambda _: None))
    assert {name: text for name, text in told(results).items() if "needs" not in text} == {
        "cancel/while-it-waits": "24 pictures did not make it queued (--crowd)",
        "pings/of-the-websocket": "an adapter has no pings of RFC 6455",
    }
    assert len([each for each in results if each.outcome == PASSED]) > 60


@pytest.mark.timeout(240)
def test_our_client_passes() -> None:
    settings = Settings(adapter=ADAPTER, patience=PATIENCE)
    results = asyncio.run(run_client(SIDES["client"], settings, lambda _: None))
    assert told([each for each in results if each.outcome != ADVISED]) == {}


# What does not


async def through_a_relay(server: RowcastServer, fault: Fault, words: list[str]) -> set[str]:
    """The outcomes of exchanges with a server that has a fault."""
    async with wrong_server(server.ws_url, fault) as url:
        patience = 1.0 if fault in FAULTS else PATIENCE
        settings = Settings(url=url, prompt="a red boat", patience=patience, jobs=3)
        try:
            results = await run_server(only("server", *words), settings, lambda _: None)
        except Failed:  # not even one picture can be had of it
            return {FAILED}
    return {each.outcome for each in results}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_wrong_server_is_caught(fault: Fault, slow: RowcastServer) -> None:
    assert asyncio.run(through_a_relay(slow, fault, [fault.shown_by])) == {FAILED}


def test_what_a_wrong_server_fails_a_right_one_passes_by_the_same_way(slow: RowcastServer) -> None:
    shown = sorted({fault.shown_by for fault in FAULTS})
    assert asyncio.run(through_a_relay(slow, Fault("none", ""), shown)) == {PASSED}


@pytest.fixture(scope="module")
def slow(folder: Path) -> Iterator[RowcastServer]:
    with slow_server(folder) as server:
        yield server


@pytest.mark.timeout(240)
def test_a_wrong_client_is_caught() -> None:
    async def run() -> dict[str, str]:
        outcomes = {}
        async with open_stage(WRONG_ADAPTER, {"page": False, "strict": True}) as stage:
            for fault in wrong_client.FAULTS:
                (exchange,) = (each for each in SIDES["client"] if each.name == fault.shown_by)
                stage.say(do="break", fault=fault.name)
                result = await ClientPlayer(exchange, stage, 1.0).play()
                outcomes[fault.name] = result.outcome
        return outcomes

    assert asyncio.run(run()) == {fault.name: FAILED for fault in wrong_client.FAULTS}


def test_an_adapter_that_ends_is_told_and_not_waited_for() -> None:
    settings = Settings(adapter=f"{sys.executable} -c pass")
    begun = time.monotonic()
    results = asyncio.run(run_client(only("client", "asking"), settings, lambda _: None))
    assert {each.outcome for each in results} == {FAILED}
    assert time.monotonic() - begun < 4
    with pytest.raises(Failed, match="--adapter"):
        asyncio.run(run_client([], Settings(), lambda _: None))


# What the kit says of itself


def test_the_tables_of_the_kit_are_those_of_the_document() -> None:
    for part, fields in frames.TABLES.items():
        mine = [(name, kind) for name, kind, *_ in fields]
        assert mine == [(name, kind) for name, kind, _ in document.fields(part)], part
        for (_, _, *default), (_, _, told) in zip(fields, document.fields(part), strict=True):
            assert bool(default) == (told is not None) or default == [{}], part
    known = {int(row[0]): row[1].strip("`") for row in document.table("tag", "name")}
    assert {tag: name for tag, (name, _) in frames.TAGS.items()} == known


@pytest.mark.parametrize("side", scripts.SIDES)
def test_the_codec_of_the_kit_agrees_with_the_vectors(side: str) -> None:
    for vector in json.loads(VECTORS.read_text("utf-8"))["frames"]:
        if vector["from"] != side:
            continue
        data = bytes.fromhex(vector["hex"])
        try:
            meaning, valid = frames.read_frame(side, data), True
        except frames.Broken:
            meaning, valid = None, False
        if len(data) in (4_097, 16_385):
            continue  # too long, which the rules of a connection see
        assert valid == vector["valid"], vector["name"]
        if vector.get("canonical"):
            assert meaning is not None
            name = meaning.pop("message")
            if name in ("accepted", "welcome"):
                continue  # at their default, fields are left out
            assert frames.write_frame(name, meaning) == data, vector["name"]


def test_every_rule_is_shown_or_said_not_to_be() -> None:
    rules = scripts.rules_of(scripts.DOCUMENT)
    shown = {rule for exchange in ALL for rule in exchange.rules}
    assert shown <= rules.keys()
    reasons = scripts.not_shown()
    assert reasons.keys() == rules.keys() - shown
    assert {rule: why for rule, why in reasons.items() if len(why) < 20} == {}


def test_every_exchange_is_its_own_and_says_what_it_shows() -> None:
    for found in SIDES.values():
        assert len({each.name for each in found}) == len(found)
    assert [each.name for each in ALL if not each.rules or not each.says] == []
    scripted = {command.short(each) for each in ALL if each.topic != "vectors"}
    assert len(scripted) >= 60


def test_the_readme_lists_the_rules_without_an_exchange() -> None:
    text = (KIT / "README.md").read_text("utf-8")
    table = command.rules_table(scripts.DOCUMENT).split("\n\n")[1]
    assert table in text


def test_the_kit_needs_two_libraries_and_nothing_of_ours() -> None:
    found = set()
    for path in KIT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").split(".")[0])
    assert found - sys.stdlib_module_names == {"msgpack", "websockets"}


def test_a_copy_of_the_kit_runs_where_there_is_nothing_else(tmp_path: Path) -> None:
    shutil.copytree(KIT, tmp_path / "conformance")
    shutil.copy(scripts.DOCUMENT, tmp_path)
    run = [sys.executable, str(tmp_path / "conformance"), "client", "--list"]
    listed = subprocess.run(run, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "links/reconnect/1001" in listed.stdout
    assert "vectors/" not in listed.stdout
    run[2:] = ["--rules", "--document", str(tmp_path / "protocol.md")]
    rules = subprocess.run(run, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "| R-28 |" in rules.stdout


def test_the_command_tells_what_passed_and_what_did_not(
    slow: RowcastServer, capsys: pytest.CaptureFixture[str]
) -> None:
    of_server = ["server", slow.ws_url, "--prompt", "a red boat"]
    assert command.main([*of_server, "--only", "pings/echo", "handshake/bad-token/wrong"]) == 0
    shown = capsys.readouterr().out
    assert "passed         pings/echo/0" in shown
    assert "needs token" in shown
    assert "   3 passed: R-49\n   0 failed\n   1 not applicable" in shown
    assert command.main([*of_server, "--only", "R-36", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["name"] == "cancel/watched-picture"
    assert command.main([*of_server, "--only", "nothing like it"]) == 1
    assert command.main(["server", "ws://127.0.0.1:9", "--only", "pings"]) == 2
    assert "cannot be reached" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main([])


def test_a_command_that_does_not_stop_the_server_is_told() -> None:
    asyncio.run(stopper(f"{sys.executable} -c pass")())
    with pytest.raises(Failed, match="--stop failed"):
        asyncio.run(stopper(f"{sys.executable} -c exit(1)")())


def test_advice_is_told_and_fails_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    exchange = next(each for each in ALL if each.should)
    tell = command.teller(as_json=False, quiet=True)
    result = Result(exchange, ADVISED, "it differs (step 9, check)")
    tell(result)
    assert "advice not kept" in capsys.readouterr().out
    assert "   1 advice not kept" in command.summary([result])
