"""The environment that the Makefile makes: of a Python that will do, and whole or made anew."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
GOOD, OLD = "3.12.4", "3.10.12"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

# Stands in for a Python of a version, and for the one of the environment that it makes: there
# `pip` is a file, installing puts `rowcast` beside it, and `demo` says what it is asked.
STAND_IN = """#!/bin/sh
here=$(dirname "$0")
case "$1 $2" in
--version*) echo "Python {version}" ;;
"-m venv")
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    {fails}
    touch "$3/bin/pip" ;;
"-m pip")
    test -f "$here/pip" || {{ echo "No module named pip" >&2; exit 1; }}
    printf '#!/bin/sh\\necho "{version} runs: $*"\\n' > "$here/rowcast"
    chmod +x "$here/rowcast" ;;
-c*import*pip*) test -f "$here/pip" && test {old} = no ;;
-c*) test {old} = no ;;
esac
"""
# Debian's without python3-venv, and one that is killed before it is through, make and all.
WITHOUT_VENV = 'echo "ensurepip is not available" >&2; exit 1'
KILLED = "kill -9 0"  # the whole group


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with nothing but the Makefile and what its targets depend on."""
    folder = tmp_path / "a project"
    folder.mkdir()
    shutil.copyfile(MAKEFILE, folder / "Makefile")
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    return folder


def demo(project: Path, version: str, fails: str = ":", prompt: str = "") -> tuple[int, str, str]:
    """`make demo` with a Python of this version: (exit code, stdout, stderr)."""
    python = project.parent / f"python{version.rpartition('.')[0]}"
    old = "yes" if version == OLD else "no"
    python.write_text(STAND_IN.format(version=version, fails=fails, old=old))
    python.chmod(0o755)
    words = [
        "make",
        "--no-print-directory",
        "demo",
        f"PYTHON={python}",
        *([f"PROMPT={prompt}"] if prompt else []),
    ]
    done = subprocess.run(
        words, cwd=project, capture_output=True, text=True, timeout=60, start_new_session=True
    )
    return done.returncode, done.stdout, done.stderr


def test_a_python_that_is_too_old_is_told_and_makes_nothing(project: Path) -> None:
    code, shown, _ = demo(project, OLD)
    assert code != 0
    assert (
        f"Rowcast needs Python 3.11 or newer; {project.parent}/python3.10 is Python {OLD}." in shown
    )
    assert not (project / ".venv").exists()
    for prompt in ("a red boat", """a "red" boat, it's $5 `date` $(date)"""):
        code, shown, said = demo(project, GOOD, prompt=prompt)
        assert code == 0, said
        assert shown.splitlines()[-1] == f"{GOOD} runs: demo {prompt} --out demo-output"


@pytest.mark.parametrize("fails", [WITHOUT_VENV, KILLED], ids=["without venv", "killed"])
def test_an_environment_that_is_not_whole_is_made_anew(project: Path, fails: str) -> None:
    assert demo(project, GOOD, fails)[0] != 0
    code, shown, said = demo(project, GOOD)
    assert code == 0, said
    assert f"{GOOD} runs: demo" in shown


def test_an_environment_of_a_python_that_is_too_old_is_made_anew(project: Path) -> None:
    """As it was made by hand, or by another version of the Makefile."""
    demo(project, OLD)
    old = project.parent / "python3.10"
    subprocess.run([old, "-m", "venv", project / ".venv"], check=True)
    (project / ".venv/installed-server").touch()
    code, shown, said = demo(project, GOOD)
    assert code == 0, said
    assert f"{GOOD} runs: demo" in shown


def test_an_environment_that_is_whole_is_left_alone(project: Path) -> None:
    assert demo(project, GOOD)[0] == 0
    (project / ".venv/mine").touch()
    code, shown, _ = demo(project, GOOD)
    assert code == 0
    assert "installing" not in shown
    assert (project / ".venv/mine").exists()


def test_the_readme_says_where_the_command_is_then() -> None:
    assert (
        "after it the command is\n`.venv/bin/rowcast`"
        in (MAKEFILE.parent / "README.md").read_text()
    )
