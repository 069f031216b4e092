"""What the slots will take is known before it is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rowcast.errors import RowcastError
from rowcast_server import memory
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.memory import check_memory, slot_bytes, with_caches_that_fit
from rowcast_server.models.loading import load
from rowcast_server.network.facts import CacheKind
from rowcast_server.network.static_decoder import StaticDecoder
from rowcast_server.placement import Placement


@pytest.mark.parametrize("cache", CacheKind)
def test_a_slot_takes_what_is_said(tiny_folder: Path, cache: CacheKind) -> None:
    model = load(str(tiny_folder))
    runner = OnnxRunner(model, slots=5, threads=1, cache=cache)
    said = slot_bytes(model.decoder, Placement(cache=cache))
    assert sum(array.nbytes for array in runner.held.caches.values()) == 5 * said.tokens
    assert sum(array.nbytes for array in runner.held.texts.values()) == 5 * said.text


def test_a_slot_of_torchs_takes_what_is_said(tiny_folder: Path) -> None:
    model = load(str(tiny_folder))
    for dtype in (torch.float32, torch.bfloat16):
        memory = StaticDecoder(
            model.decoder, model.grid.codebook_size, torch.device("cpu"), dtype
        ).memory(rows=2)
        said = slot_bytes(model.decoder, Placement("cuda", str(dtype).removeprefix("torch.")))
        assert memory.keys.nbytes + memory.values.nbytes == said.tokens
        assert memory.cross.nbytes == said.text
    whole, half = (
        slot_bytes(model.decoder, Placement("cuda", name)).all for name in ("float32", "bfloat16")
    )
    assert half * 2 == whole


def test_at_minis_size_the_cache_of_tokens_is_less_than_half_of_min_dalles() -> None:
    """min-dalle's is [layers, 2 streams * 2, positions, width], whatever the precision."""
    layers, positions, width = 12, 256, 1024
    decoder = {f"layers.{layer}.x": np.zeros(()) for layer in range(layers)}
    decoder["embed_positions.weight"] = np.broadcast_to(np.float32(0), (positions, width))
    theirs = layers * 4 * positions * width * 4
    states, keys_values = (
        slot_bytes(decoder, Placement(cache=cache)).tokens
        for cache in (CacheKind.STATES, CacheKind.KEYS_AND_VALUES)
    )
    assert states < 0.48 * theirs
    assert keys_values < 0.96 * theirs


def test_more_slots_than_memory_holds_are_refused_with_how_many_fit(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = load(str(tiny_folder)).decoder
    for cache in CacheKind:
        placement = Placement(cache=cache)
        free = 3 * slot_bytes(decoder, placement).all
        monkeypatch.setattr(memory, "_free_bytes", lambda device, free=free: free)
        check_memory(decoder, 3, placement)
        with pytest.raises(RowcastError, match=r"4 slots of .* try --slots 3") as refused:
            check_memory(decoder, 4, placement)
        other = "--cache states, of which" in str(refused.value)
        assert other == (cache is CacheKind.KEYS_AND_VALUES)


def test_where_keys_and_values_do_not_fit_states_are_cached_and_the_log_says_so(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    decoder = load(str(tiny_folder)).decoder
    fast, small = Placement(), Placement(cache=CacheKind.STATES)
    needed, less = (slot_bytes(decoder, placement).all for placement in (fast, small))
    both = fast, fast  # two engines share the memory
    for free, expected in (
        (2 * 4 * needed, both),
        (2 * 4 * needed - 1, (small, small)),
        (2 * 4 * less, (small, small)),
        (2 * 4 * less - 1, both),  # neither fits: `check_memory` says what would
        (None, both),
    ):
        monkeypatch.setattr(memory, "_free_bytes", lambda device, free=free: free)
        caplog.clear()
        assert with_caches_that_fit(both, decoder, slots=4) == expected
        assert ("caching states instead (--cache states)" in caplog.text) == (expected != both)
    on_a_gpu = (Placement("cuda", "float32"),)
    monkeypatch.setattr(memory, "_free_bytes", lambda device: 1)
    assert with_caches_that_fit(on_a_gpu, decoder, slots=4) == on_a_gpu
