"""`rowcast serve` in this process, where it does not come to serving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rowcast.cli import main


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call `rowcast serve` in vain; returns its stderr. A process would cost most of the time."""

    def refusal(model: Path, *options: str, code: int = 1) -> str:
        try:
            returned = main(["serve", "--model", str(model), "--port=0", *options])
        except SystemExit as exit:  # of argparse
            returned = int(exit.code or 0)
        out, err = capsys.readouterr()
        assert (returned, out) == (code, "")
        return err

    return refusal
