"""The tests on each Python that is there: `make pythons`, or `nox --session tests-3.13`.

Python 3.11 is CI's and runs everything (`make test`). On the others torch would be a download of
gigabytes, so they run what client, protocol and server do without it.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
TOOLS = ("hypothesis", "ipython", "msgpack", "pytest-asyncio", "pytest-timeout", "pytest-xdist")
WITHOUT_TORCH = (
    "tests/client_py",
    "--ignore=tests/client_py/test_errors.py",  # of all packages
    "--ignore=tests/client_py/terminal/test_doctor.py",  # of all extras
    "tests/server/engine/test_company.py",
    "tests/server/engine/test_sampling.py",
    "tests/server/engine/test_scheduler.py",
    "tests/server/gateway",
    "tests/server/session",
    "tests/server/whole_server",
    "tests/server/test_exchanges.py",
    "tests/server/test_jobs.py",
    "tests/server/gateway/test_web.py",
    "tests/test_protocol_document.py",
    "tests/test_rows_format.py",
)


@nox.session(python=["3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Client and server on ONNX Runtime."""
    session.install("--constraint", "constraints.txt", "--editable", ".[server]", *TOOLS)
    session.run(
        "python", "-m", "pytest", "--numprocesses", "2", *(session.posargs or WITHOUT_TORCH)
    )
