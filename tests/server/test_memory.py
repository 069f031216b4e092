"""What the slots will take is known before it is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from rowcast.errors import RowcastError
from rowcast_server import memory
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.memory import check_memory, slot_bytes
from rowcast_server.models.loading import load
from rowcast_server.models.text import unconditional_ids


def test_a_slot_takes_what_is_said(tiny_folder: Path) -> None:
    model = load(str(tiny_folder))
    free = tuple(unconditional_ids().tolist())
    runner = OnnxRunner(model.encoder, model.decoder, model.grid, free, slots=5, threads=1)
    caches = [*runner._keys, *runner._values]
    texts = [array for name, array in runner._memory.items() if name != "bias"]
    taken = sum(array.nbytes for array in (*caches, *texts))
    assert taken == 5 * slot_bytes(model.decoder, "float32")
    assert slot_bytes(model.decoder, "bfloat16") * 2 == slot_bytes(model.decoder, "float32")


def test_more_slots_than_memory_holds_are_refused_with_how_many_fit(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = load(str(tiny_folder)).decoder
    monkeypatch.setattr(memory, "_free_bytes", lambda device: 3 * slot_bytes(decoder, "float32"))
    check_memory(decoder, 3, "cpu", "float32")
    with pytest.raises(RowcastError, match=r"4 slots of .* try --slots 3"):
        check_memory(decoder, 4, "cpu", "float32")
