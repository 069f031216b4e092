"""`rowcast serve` in this process, where it does not come to serving."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rowcast.cli import main


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Call `rowcast serve` in vain; returns its stderr. A process would cost most of the time."""
    websockets = logging.getLogger("websockets")
    level = websockets.level

    def refusal(model: Path, *options: str, code: int = 1) -> str:
        try:
            returned = main(["serve", "--model", str(model), "--port=0", "--http-port=0", *options])
        except SystemExit as exit:  # of argparse
            returned = int(exit.code or 0)
        out, err = capsys.readouterr()
        assert (returned, out) == (code, "")
        return err

    yield refusal
    websockets.setLevel(level)
