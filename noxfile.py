"""The tests on each Python that is there: `nox`, or `nox --session tests-3.13`.

Python 3.11 is CI's and runs everything (`make test`). On the others torch would be a download of
gigabytes, so they run what client and server do without it; tests/conftest.py leaves out the rest.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
WITHOUT_TORCH = (
    "hypothesis",
    "ipython",
    "msgpack",
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
)


@nox.session(python=["3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Client and server on ONNX Runtime."""
    session.install("--constraint", "constraints.txt", "--editable", ".[server]", *WITHOUT_TORCH)
    session.run("python", "-m", "pytest", *session.posargs)
