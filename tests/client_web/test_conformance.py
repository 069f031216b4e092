"""The client for browsers, client_web, passes the conformance kit: built, and run by Node.js."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess

import pytest

from tests import document
from tests.conformance.play import NOT_APPLICABLE, PASSED
from tests.conformance.run import Settings, run_client
from tests.conformance.scripts import VECTORS, exchanges

PACKAGE = document.ROOT / "client_web"
COMPILER = PACKAGE / "node_modules" / ".bin" / "tsc"
ADAPTER = PACKAGE / "tests" / "conformance-adapter.mjs"
NODE = shutil.which("node")
FIRST_WITH_A_WEBSOCKET = 22  # Node.js 20 has one on demand
NOT_OF_A_PAGE = (  # which is not told; Node.js has the WebSocket of a page
    "asking/subprotocol-not-chosen",
    "links/no-websocket/a-reserved-opcode",
    "links/no-websocket/a-masked-frame",
)
PATIENCE = 20.0  # seconds: whoever runs tests may have no idle machine

pytestmark = pytest.mark.skipif(
    NODE is None or not COMPILER.exists(), reason="client_web is not installed: `make web` does so"
)


def node_command() -> str:
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    found = re.match(r"v(\d+)", version.stdout)
    assert found is not None, version.stdout
    is_new = int(found[1]) >= FIRST_WITH_A_WEBSOCKET
    return f"node {'' if is_new else '--experimental-websocket'} {ADAPTER}"


@pytest.mark.timeout(240)
def test_the_client_for_browsers_passes() -> None:
    subprocess.run([COMPILER, "-p", "tsconfig.build.json"], cwd=PACKAGE, check=True, timeout=120)
    found = exchanges("client", VECTORS)
    settings = Settings(adapter=node_command(), page=True, patience=PATIENCE)
    results = asyncio.run(run_client(found, settings, lambda _: None))
    outcomes = {each.exchange.name: (each.outcome, each.text) for each in results}
    assert {name: told for name, told in outcomes.items() if told[0] != PASSED} == dict.fromkeys(
        NOT_OF_A_PAGE, (NOT_APPLICABLE, "needs not page")
    )
