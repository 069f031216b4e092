"""The runner that a server's settings ask for, and what its clients are told of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rowcast.errors import RowcastError
from rowcast_server.config import ServerConfig
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.runner_torch import TorchRunner
from rowcast_server.models.loading import load
from rowcast_server.models.revision import revision_in
from rowcast_server.network.facts import CacheKind
from rowcast_server.placement import Placement, place
from rowcast_server.runners import make_runner
from rowcast_server.server import announce

from tests.support.raw_client import COMPLETE, connected
from tests.support.servers import running_server

BFLOAT16 = Placement("cpu", "bfloat16")


def test_float32_on_the_cpu_is_onnx_runtimes(tiny_folder: Path) -> None:
    assert isinstance(
        make_runner(load(str(tiny_folder)), ServerConfig(threads=1), Placement()), OnnxRunner
    )


@pytest.mark.parametrize(
    ("placement", "cache"),
    [
        (Placement(), "self_keys_0"),
        (Placement(dtype="int8"), "self_keys_0"),
        (Placement(cache=CacheKind.STATES), "self_states_0"),
        (Placement(dtype="int8", cache=CacheKind.STATES), "self_states_0"),
    ],
    ids=str,
)
def test_the_cache_is_of_keys_and_values_unless_another_is_wanted(
    tiny_folder: Path, placement: Placement, cache: str
) -> None:
    runner = make_runner(load(str(tiny_folder)), ServerConfig(threads=1, slots=1), placement)
    assert isinstance(runner, OnnxRunner)
    assert cache in runner.held.caches


def test_a_cache_that_is_not_the_default_has_a_revision_of_its_own() -> None:
    for dtype in ("float32", "int8"):
        assert place("cpu", dtype).variant == dtype
        assert place("cpu", dtype, CacheKind.KEYS_AND_VALUES).variant == dtype
        assert place("cpu", dtype, CacheKind.STATES).variant == f"{dtype}, states"
    assert Placement("cuda", "bfloat16").variant == "bfloat16"
    assert place("cpu", "bfloat16", CacheKind.STATES).variant == "bfloat16"  # is torch's


def test_any_other_dtype_is_torchs_with_the_threads_asked_for(tiny_folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        config = ServerConfig(slots=2, threads=1)
        runner = make_runner(load(str(tiny_folder)), config, BFLOAT16)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert isinstance(runner, TorchRunner)
    assert runner.held.memory.keys.dtype == torch.bfloat16


def test_a_model_too_large_for_the_device_says_what_to_change(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> TorchRunner:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("rowcast_server.engine.runner_torch.TorchRunner.__init__", full)
    config = ServerConfig(threads=torch.get_num_threads())
    with pytest.raises(RowcastError, match=r"tiny with 16 slots in bfloat16 .* fewer --slots"):
        make_runner(load(str(tiny_folder)), config, BFLOAT16)


def test_drawing_by_onnx_imports_no_torch(tiny_folder: Path) -> None:
    code = (
        "import sys\n"
        "from rowcast_server.config import ServerConfig\n"
        "from rowcast_server.models.loading import load\n"
        "from rowcast_server.placement import Placement\n"
        "from rowcast_server.runners import make_runner\n"
        f"make_runner(load({str(tiny_folder)!r}), ServerConfig(threads=1), Placement())\n"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "False"


def test_each_dtype_has_a_revision_of_its_own_and_float32_the_models(tiny_folder: Path) -> None:
    model = load(str(tiny_folder))
    revisions = {dtype: announce(model, dtype).revision for dtype in ("bfloat16", "float16")}
    assert announce(model).revision == model.revision == revision_in("float32", model.revision)
    assert len({model.revision, *revisions.values()}) == 3
    assert {len(revision) for revision in revisions.values()} == {len(model.revision)}


async def test_a_server_in_bfloat16_tells_its_revision_and_draws_whole_pictures(
    tiny_folder: Path,
) -> None:
    threads = torch.get_num_threads()
    try:
        with running_server(tiny_folder, placements=(BFLOAT16,)) as server:
            async with connected(server.ws_url) as client:
                await client.start(0, images=3)
                pictures = [await client.picture(stream) for stream in range(3)]
    finally:
        torch.set_num_threads(threads)
    revision = revision_in("bfloat16", load(str(tiny_folder)).revision)
    for picture in pictures:
        assert picture.accepted is not None
        assert picture.accepted[2] == revision
        assert picture.reason == COMPLETE
        assert len(picture.ids) == 4 * 4 * 2
    assert len({picture.ids for picture in pictures}) == 3
