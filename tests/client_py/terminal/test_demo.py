"""`rowcast demo`: two processes, one picture, and nothing left behind."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from rowcast.rows_file import load_rows
from rowcast.terminal.install_hints import command_name
from rowcast_server.gateway.page import PAGE_FOLDER

from tests.support.tiny_model import tiny_model

SECONDS = 60
ROWCAST = (sys.executable, "-m", "rowcast")
# The command where the system lacks what Windows lacks.
ON_WINDOWS = """
import signal, subprocess, sys
from types import SimpleNamespace
from rowcast.cli import main
from rowcast.terminal import demo
here = {"executable": sys.executable, "stdin": sys.stdin, "stderr": sys.stderr}
demo.sys = SimpleNamespace(platform="win32", **here)
subprocess.CREATE_NEW_PROCESS_GROUP = 0
for name in ("SIGHUP", "SIG_BLOCK", "SIG_SETMASK", "pthread_kill", "pthread_sigmask"):
    delattr(signal, name)
sys.exit(main())
"""

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")


@contextmanager
def demo(
    folder: Path, out: Path, *options: str, command: Sequence[str] = ROWCAST, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """A demo in a process group of its own, as a shell starts it."""
    words = ["demo", "a red boat", "--model", str(folder), "--out", str(out), *options]
    process = subprocess.Popen(
        [*command, *words],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if group(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def assert_nobody_is_left(leader: int) -> None:
    """No process of a group runs on; a server that lost its demo needs a moment to see it."""
    patience = time.monotonic() + 5
    while group(leader) and time.monotonic() < patience:
        time.sleep(0.01)
    assert group(leader) == []


def group(leader: int) -> list[int]:
    """The processes of a group that still run, by number."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = entry.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it has just ended
        if int(number) == leader and state != "Z":
            found.append(int(entry.parent.name))
    return found


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes many seconds a picture."""
    return tiny_model(tmp_path_factory.mktemp("large"), rows=64, cols=64)


def test_a_demo_draws_a_picture_and_stops_its_server(tiny_folder: Path, tmp_path: Path) -> None:
    with demo(tiny_folder, tmp_path, "--seed", "5", "--images", "2", "--json") as process:
        shown, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said
        answer = json.loads(shown)
        assert (answer["seed"], answer["images"]) == (5, 2)
        assert load_rows(tmp_path / "image-1.rows").complete
        assert "the server is up at ws://127.0.0.1:" in said
        called = command_name()
        next_step = (
            f"{called} serve, and elsewhere {called} generate 'a yellow balloon over the sea'"
        )
        assert said.splitlines()[-1] == f"go on with: {next_step}"
        assert_nobody_is_left(process.pid)


@pytest.mark.parametrize(
    "variables",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:1080"},
        {"http_proxy": "http://127.0.0.1:9"},
        {"ALL_PROXY": "nonsense", "HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": ""},
    ],
    ids=str,
)
def test_a_demo_needs_no_network_and_no_proxy(
    tiny_folder: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    """With an empty cache: its file is fetched."""
    variables = {**variables, "ROWCAST_CACHE": str(tmp_path / "cache")}
    with demo(tiny_folder, tmp_path / "out", **variables) as process:
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert (tmp_path / "out/image-0.png").is_file()
    assert list((tmp_path / "cache").glob("*.onnx"))


def test_a_demo_that_is_stopped_early_says_once_how_to_go_on(
    tiny_folder: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))
    settings = json.loads((model / "model.json").read_text("utf-8"))
    described = json.dumps(settings | {"description": "Boats, small ones."})
    (model / "model.json").write_text(described, "utf-8")
    with demo(model, tmp_path, "--stop-row", "2") as process:
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert "tiny draws: Boats, small ones.\n" in said
    [line] = [line for line in said.splitlines() if "go on with" in line]
    called = command_name()
    next_step = f"{called} serve, and elsewhere {called} generate --from {tmp_path}/image-0.rows"
    assert line == f"stopped early; go on with: {next_step}"


def test_a_demo_draws_on_windows(tiny_folder: Path, tmp_path: Path) -> None:
    command = sys.executable, "-c", ON_WINDOWS
    with demo(tiny_folder, tmp_path, "--json", command=command) as process:
        shown, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said
        assert json.loads(shown)["images"] == 1
        assert "Traceback" not in said
        assert_nobody_is_left(process.pid)


def test_afterwards_the_page_is_there_until_ctrl_c(tiny_folder: Path, tmp_path: Path) -> None:
    """`--page` opens it also where nothing shows it: BROWSER is what the library would start."""
    opened = tmp_path / "opened"
    browser = f"sh -c 'echo %s > {opened}'"
    with demo(tiny_folder, tmp_path, "--page", BROWSER=browser) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if line.startswith(("the page", "http")))
        if PAGE_FOLDER.is_dir():
            page = told.split()[4]
            while not opened.is_file():
                time.sleep(0.01)
            assert opened.read_text().strip() == page
            assert "<html" in httpx.get(page).text
            os.killpg(process.pid, signal.SIGINT)
        else:
            assert "this server has no page" in told.lower()
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said
        assert "go on with" in said
        assert_nobody_is_left(process.pid)


def test_a_demo_of_no_model_says_so(tmp_path: Path) -> None:
    with demo(tmp_path / "none", tmp_path) as process:
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 1
        assert "Traceback" not in said
        assert "unknown model" in said
        assert "rowcast demo: the server did not start" in said


def test_in_a_terminal_it_paints_and_ctrl_c_saves_what_had_arrived(
    large: Path, tmp_path: Path
) -> None:
    ours, its = pty.openpty()
    before = termios.tcgetattr(its)
    words = ["demo", "a red boat", "--model", str(large), "--out", str(tmp_path)]
    process = subprocess.Popen(
        [*ROWCAST, *words],
        preexec_fn=lambda: os.login_tty(its),
        env=os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )
    shown = b""
    try:
        while shown.count("▀".encode()) < 1_000:
            shown += os.read(ours, 65_536)
        assert len(group(process.pid)) == 2
        os.write(ours, b"\x03")  # the terminal makes a SIGINT of it, for both processes
        while b"saved\r\n" not in shown[-200:]:
            shown += os.read(ours, 65_536)
        assert process.wait(SECONDS) == 130
        assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is back
        assert b"rowcast: stopped" in shown
        assert b"Traceback" not in shown
        assert termios.tcgetattr(its) == before
        assert_nobody_is_left(process.pid)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(its)
    picture = load_rows(tmp_path / "image-0.rows")
    assert 0 < picture.rows_held < 64
    assert picture.reason is None


def test_kill_leaves_no_server_behind(large: Path, tmp_path: Path) -> None:
    with demo(large, tmp_path) as process:
        assert process.stderr is not None
        assert any(line.startswith("the server is up") for line in process.stderr)
        assert len(group(process.pid)) == 2
        process.terminate()
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 128 + signal.SIGTERM
        assert "stopped by SIGTERM" in said
        assert "Traceback" not in said
        assert_nobody_is_left(process.pid)


@pytest.mark.parametrize("is_up", [True, False])
def test_a_kill_that_nothing_can_answer_leaves_no_server_either(
    large: Path, tmp_path: Path, is_up: bool
) -> None:
    """SIGKILL: the server's standard input ends with the demo, while it loads or draws."""
    with demo(large, tmp_path) as process:
        assert process.stderr is not None
        while len(group(process.pid)) < 2:
            assert process.poll() is None
            time.sleep(0.005)
        if is_up:
            assert any(line.startswith("the server is up") for line in process.stderr)
        process.kill()
        process.wait(SECONDS)
        deadline = time.monotonic() + SECONDS
        while left := group(process.pid):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)


def test_ctrl_c_while_the_server_still_loads(tiny_folder: Path, tmp_path: Path) -> None:
    with demo(tiny_folder, tmp_path) as process:
        while len(group(process.pid)) < 2:
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 130
        assert "Traceback" not in said
        assert_nobody_is_left(process.pid)
