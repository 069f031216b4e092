"""The standard streams of the whole program: closed, narrow, full or unread; and Ctrl-C early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rowcast.terminal.exit_codes import INTERRUPTED, READER_GONE
from rowcast_server.server import RowcastServer

from tests.support.client.commands import PROMPT, names

ROWCAST = (sys.executable, "-m", "rowcast")
SHELL = pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs a POSIX shell")


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A line of the shell in which ``$ROWCAST`` is the program."""
    environment = os.environ | {"ROWCAST": " ".join(ROWCAST)} | variables
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, env=environment, timeout=60)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("words", [["--help"], ["generate", "--help"]])
def test_a_narrow_encoding_is_no_error(encoding: str, words: list[str]) -> None:
    run = subprocess.run(
        [*ROWCAST, *words],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    shown = run.stdout.decode(encoding)
    assert shown.startswith("usage: rowcast")
    if words == ["--help"]:
        assert ("COMMAND …" if encoding in ("cp1252", "utf-8") else "COMMAND ?") in shown


@SHELL
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--help", "generate --help", "cache path"])
def test_a_reader_that_goes_ends_it_quietly(words: str, unbuffered: str) -> None:
    line = f"{{ sleep 0.2; $ROWCAST {words}; echo $? >&2; }} | true"
    run = shell(line, PYTHONUNBUFFERED=unbuffered)
    assert run.stderr.decode().split() == [str(READER_GONE)]


@SHELL
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$ROWCAST cache path >&-", 0),
        ("$ROWCAST nothing 2>&-", 2),
        ("$ROWCAST generate --images 2>&-", 2),
        ("$ROWCAST cache path <&- >&- 2>&-", 0),
    ],
)
def test_a_stream_that_is_closed_is_no_error(line: str, code: int) -> None:
    run = shell(line)
    assert (run.returncode, run.stdout, run.stderr) == (code, b"", b"")


@SHELL
def test_no_file_gets_the_number_of_a_closed_stream(
    tiny_server: RowcastServer, tmp_path: Path
) -> None:
    """A library writes its warnings to the number 2, whatever that is."""
    words = f"generate {tiny_server.ws_url} '{PROMPT}' --out {tmp_path}/out --json"
    run = shell(f"exec 2>&-; $ROWCAST {words}")
    assert run.returncode == 0
    assert json.loads(run.stdout)["images"] == 1
    assert names(tmp_path / "out") == ["image-0.gif", "image-0.png", "image-0.rows"]


@SHELL
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_stdout_is_told(unbuffered: str) -> None:
    run = shell("$ROWCAST cache path >/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert run.returncode == 1
    (line,) = run.stderr.decode().splitlines()
    assert "No space left on device" in line


@SHELL
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["--help", "cache path --json", "cache nonsense --json"])
def test_a_full_disk_is_told_without_a_traceback_wherever_it_is_met(words: str) -> None:
    run = shell(f"$ROWCAST {words} >/dev/full", PYTHONUNBUFFERED="1")
    assert run.returncode == 1
    said = run.stderr.decode()
    assert "rowcast: the output cannot be written: No space left on device\n" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGINT, "stopped"),
        (signal.SIGTERM, "stopped by SIGTERM"),
        (signal.SIGHUP, "stopped by SIGHUP"),
    ],
)
def test_a_signal_during_imports_leaves_no_traceback(number: signal.Signals, how: str) -> None:
    """At several times after the start, from the first line of ours on."""
    for delay in (0.0, 0.05, 0.1, 0.2, 0.3):
        code = (
            "import rowcast.__main__ as program, os, sys, threading, signal\n"
            "opened = program._open_streams\n"
            "def begin():\n"
            "    opened()\n"
            f"    threading.Timer({delay}, os.kill, (os.getpid(), {number:d})).start()\n"
            "program._open_streams = begin\n"
            "sys.argv = ['rowcast', '--help', '--json']\n"
            "while True: program.main()\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        )
        assert run.returncode == 128 + number, run.stderr
        assert run.stderr.strip() == f"rowcast: {how}"
        assert json.loads(run.stdout.splitlines()[-1]) == {"error": how}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_is_stopped_as_by_ctrl_c_from_its_first_line_on(number: signal.Signals) -> None:
    code = (
        "import signal, sys\n"
        "from rowcast import cli\n"
        "from importlib.metadata import EntryPoint\n"
        f"def waits(words): signal.raise_signal({number:d})\n"
        "cli.entry_points = lambda group: [EntryPoint('waits', '__main__:waits', group)]\n"
        "sys.exit(cli.main(['waits', '--json']))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 128 + number
    assert run.stderr == f"rowcast waits: stopped by {number.name}\n"
    assert json.loads(run.stdout) == {"error": f"stopped by {number.name}"}


def test_ctrl_c_that_an_import_tells_in_its_own_words() -> None:
    code = (
        "import sys\n"
        "from rowcast import cli\n"
        "from importlib.metadata import EntryPoint\n"
        "def breaks(words):\n"
        "    try:\n"
        "        raise KeyboardInterrupt\n"
        "    except KeyboardInterrupt as error:\n"
        "        raise ImportError('cannot load the module') from error\n"
        "cli.entry_points = lambda group: [EntryPoint('breaks', '__main__:breaks', group)]\n"
        "sys.exit(cli.main(['breaks']))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == INTERRUPTED
    assert run.stderr.strip() == "rowcast: stopped"


def test_a_sigint_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As for `nohup`, and for what a script starts in the background."""
    process = subprocess.Popen(
        [*ROWCAST, "cache", "path"],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    for _ in range(20):
        time.sleep(0.01)
        process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert shown
