"""What a GPU has compiled, compiled for this CPU: the same pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rowcast_server.engine.devices_torch import Device, Function, compiled
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_torch import TorchRunner
from rowcast_server.engine.whole_pictures import draw_together
from rowcast_server.models.loading import load

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("one_thread")]


class Compiling(Device):
    """The CPU, as CUDA as far as that can be."""

    def fused(self, work: Function) -> Function:
        return compiled(work)


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch.compile itself
def test_pictures_of_compiled_passes_are_the_same(
    tiny_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load(str(tiny_folder))
    rows = model.grid.rows
    requests = [
        PictureRequest(model.text_ids("a red boat"), seed, 0, model.sampling, rows)
        for seed in range(3)
    ]
    plain, ours = (
        draw_together(Engine(TorchRunner(model, 3, device)), requests)
        for device in (Device("cpu"), Compiling("cpu"))
    )
    np.testing.assert_array_equal(ours, plain)
    assert "is not compiled" not in caplog.text
