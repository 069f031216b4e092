"""Made environments: a picture is drawn from a server on loopback, whatever a machine says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rowcast_server.server import RowcastServer

pytestmark = pytest.mark.timeout(120)

DRAW = """
import sys, rowcast
with rowcast.connect_sync(sys.argv[1]) as client:
    [done] = client.pictures("a red boat", seed=5)
print(done.reason, done.image.size, done.picture.rows_held, *client.tiers, sep="|")
"""
DRAWN = "complete|(16, 16)|4|full fp32 on cpu\n"
IN_A_LOOP = """
import asyncio, sys, threading, rowcast
imported = set()
def audit(event, arguments):
    if event == "import" and threading.current_thread() is threading.main_thread():
        imported.add(arguments[0].partition(".")[0])
async def main():
    sys.addaudithook(audit)
    async with rowcast.connect(sys.argv[1]) as client:
        [done] = await client.pictures("a red boat")
        ours = isinstance(client, rowcast.AsyncClient)
        print(done.reason, ours, imported - sys.stdlib_module_names)
asyncio.run(main())
"""
# A user that nobody knows, as containers have them. Whoever may not become one is one to the user
# database; the interpreter may be readable to its owner alone, so all is loaded before.
NOBODY = """
import os, pwd, sys
import encodings.idna, httpx, httpcore, rowcast.sync, websockets.sync.client
from rowcast.pixels import artifacts, runtime
runtime.import_onnxruntime()
def unknown(number):
    raise KeyError(number)
if os.getuid() == 0:
    os.setgroups([]); os.setgid(54321); os.setuid(54321)
else:
    pwd.getpwuid = unknown
try:
    pwd.getpwuid(os.getuid())
except KeyError:
    pass
else:
    raise SystemExit("somebody is known by this number")
"""
NONSENSE = {
    **dict.fromkeys(
        ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9"
    ),
    **dict.fromkeys(("ALL_PROXY", "all_proxy"), "socks5://127.0.0.1:1080"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "::nonsense, ,"),
    **dict.fromkeys(("WS_PROXY", "ws_proxy", "SOCKS_PROXY", "socks_proxy"), "nonsense://"),
    **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), "/nowhere/file"),
    **dict.fromkeys(("SSL_CERT_DIR", "SSLKEYLOGFILE", "NETRC"), "/nowhere/at/all"),
}


def draw(
    url: str, code: str = DRAW, shell: str = 'exec "$0" "$@"', **environment: str
) -> subprocess.CompletedProcess[str]:
    """A program that draws, in an environment of these variables and what finds its libraries."""
    kept = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
    return subprocess.run(
        ["sh", "-c", shell, sys.executable, "-c", code, url],
        env={name: os.environ[name] for name in kept if name in os.environ} | environment,
        capture_output=True,
        text=True,
        timeout=100,
        cwd="/",
    )


def test_a_user_without_a_name_and_a_home_holds_files_in_memory(tiny_server: RowcastServer) -> None:
    run = draw(tiny_server.ws_url, NOBODY + DRAW)
    assert run.stdout == DRAWN, run.stderr
    assert "held in memory" in run.stderr
    assert "set HOME, or ROWCAST_CACHE" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("home", ["", "nonsense", "/dev/null", "/proc/1/nowhere", "/root"])
def test_a_home_that_is_none(tiny_server: RowcastServer, home: str) -> None:
    run = draw(tiny_server.ws_url, NOBODY + DRAW, HOME=home)
    assert run.stdout == DRAWN, run.stderr
    assert "held in memory" in run.stderr
    assert "Traceback" not in run.stderr


def test_every_variable_of_proxies_and_certificates_is_nonsense(
    tiny_server: RowcastServer, tmp_path: Path
) -> None:
    run = draw(tiny_server.ws_url, HOME=str(tmp_path), **NONSENSE)
    assert (run.stdout, run.stderr) == (DRAWN, "")


def test_the_locale_is_ascii_and_stderr_closed(tiny_server: RowcastServer, tmp_path: Path) -> None:
    """With a warning to say, of a cache that cannot be written."""
    run = draw(
        tiny_server.ws_url,
        DRAW.replace("red boat", "r\\u00f6d b\\u00f6\\u00e5t"),
        'exec "$0" "$@" 2>&-',
        HOME=str(tmp_path),
        ROWCAST_CACHE="/dev/null/nowhere",
        LC_ALL="C",
        PYTHONIOENCODING="ascii",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert run.stdout == DRAWN, run.stderr


TELEMETRY = """
import sys
from pathlib import Path
import rowcast
rowcast.Detokenizer(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("wanted", [{}, {"ORT_DISABLE_TELEMETRY": "1"}])
def test_onnx_runtime_leaves_nothing_behind(
    tiny_folder: Path, tmp_path: Path, wanted: dict[str, str]
) -> None:
    run = draw(str(tiny_folder / "detokenizer.onnx"), TELEMETRY, HOME=str(tmp_path), **wanted)
    assert (run.returncode, run.stderr) == (0, "")
    assert [*tmp_path.rglob("*")] == []


def test_who_wants_the_telemetry_has_it(tiny_folder: Path, tmp_path: Path) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    assert "telemetry is off (`ORT_DISABLE_TELEMETRY=1`)" in readme.read_text("utf-8")
    code = TELEMETRY + "import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    run = draw(
        str(tiny_folder / "detokenizer.onnx"), code, HOME=str(tmp_path), ORT_DISABLE_TELEMETRY="0"
    )
    assert run.stdout == "0\n", run.stderr


def test_a_loop_that_runs_loads_no_library_by_itself(
    tiny_server: RowcastServer, tmp_path: Path
) -> None:
    """A thread does: loaded in the loop's own, they would hold it for a quarter of a second."""
    run = draw(tiny_server.ws_url, IN_A_LOOP, HOME=str(tmp_path))
    assert (run.stdout, run.stderr) == ("complete True set()\n", "")
