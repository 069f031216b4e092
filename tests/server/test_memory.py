"""What the slots will take is known before it is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rowcast.errors import RowcastError
from rowcast_server import memory
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.memory import check_memory, slot_bytes
from rowcast_server.models.loading import load
from rowcast_server.models.text import unconditional_ids
from rowcast_server.network.cache_kind import CacheKind
from rowcast_server.network.static_decoder import StaticDecoder


@pytest.mark.parametrize("cache", CacheKind)
def test_a_slot_takes_what_is_said(tiny_folder: Path, cache: CacheKind) -> None:
    model = load(str(tiny_folder))
    free = tuple(unconditional_ids().tolist())
    runner = OnnxRunner(
        model.encoder, model.decoder, model.grid, free, slots=5, threads=1, cache=cache
    )
    said = slot_bytes(model.decoder, "float32", cache)
    assert sum(array.nbytes for array in runner._caches.values()) == 5 * said.tokens
    assert sum(array.nbytes for array in runner._texts.values()) == 5 * said.text


def test_a_slot_of_torchs_takes_what_is_said(tiny_folder: Path) -> None:
    model = load(str(tiny_folder))
    for dtype in (torch.float32, torch.bfloat16):
        memory = StaticDecoder(
            model.decoder, model.grid.codebook_size, torch.device("cpu"), dtype
        ).memory(rows=2)
        said = slot_bytes(model.decoder, str(dtype).removeprefix("torch."), None)
        assert memory.keys.nbytes + memory.values.nbytes == said.tokens
        assert memory.cross.nbytes == said.text
    whole, half = (slot_bytes(model.decoder, name, None).all for name in ("float32", "bfloat16"))
    assert half * 2 == whole


def test_at_minis_size_the_cache_of_tokens_is_less_than_half_of_min_dalles() -> None:
    """min-dalle's is [layers, 2 streams * 2, positions, width], whatever the precision."""
    layers, positions, width = 12, 256, 1024
    decoder = {f"layers.{layer}.x": np.zeros(()) for layer in range(layers)}
    decoder["embed_positions.weight"] = np.broadcast_to(np.float32(0), (positions, width))
    theirs = layers * 4 * positions * width * 4
    assert slot_bytes(decoder, "float32", CacheKind.STATES).tokens < 0.48 * theirs
    assert slot_bytes(decoder, "float32", CacheKind.KEYS_AND_VALUES).tokens < 0.96 * theirs


def test_more_slots_than_memory_holds_are_refused_with_how_many_fit(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = load(str(tiny_folder)).decoder
    for cache in CacheKind:
        free = 3 * slot_bytes(decoder, "float32", cache).all
        monkeypatch.setattr(memory, "_free_bytes", lambda device, free=free: free)
        check_memory(decoder, 3, "cpu", "float32", cache)
        with pytest.raises(RowcastError, match=r"4 slots of .* try --slots 3") as refused:
            check_memory(decoder, 4, "cpu", "float32", cache)
        other = "--cache states, of which" in str(refused.value)
        assert other == (cache is CacheKind.KEYS_AND_VALUES)
