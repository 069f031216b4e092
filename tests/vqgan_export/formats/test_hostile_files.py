"""Files that are cut, wrong or meant to harm: an error that names file and tensor, nothing else."""

from __future__ import annotations

import argparse
import os
import pickle
import struct
import subprocess
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch
from rowcast_export.building import build
from rowcast_export.formats import CheckpointError, read_detokenizer
from rowcast_export.settings import Settings
from torch import Tensor

from tests.support.decoders import (
    FLAX,
    LLAMAGEN,
    TAMING,
    State,
    make_state,
    write_flax,
    write_old_torch,
    write_safetensors,
    write_torch_zip,
)

WRITERS = [
    (TAMING, write_torch_zip),
    (TAMING, write_old_torch),
    (LLAMAGEN, write_safetensors),
    (FLAX, write_flax),
]
Write = Callable[[Path, State], Path]


@pytest.mark.parametrize(("naming", "write"), WRITERS)
def test_a_tensor_that_is_not_finite_is_named_if_it_is_used(
    naming: Any, write: Write, tmp_path: Path
) -> None:
    state = make_state(naming)
    state["encoder.conv_in.bias"][3] = torch.nan
    assert read_detokenizer(write(tmp_path / "fine", state)).tensors
    state["decoder.conv_out.bias"][1] = torch.inf
    with pytest.raises(CheckpointError, match=r"poor: the tensor .*decoder\.conv_out\.bias holds"):
        read_detokenizer(write(tmp_path / "poor", state))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"decoder.mid.attn_1.k.bias": None}, r"missing: decoder\.mid\.attn_1\.k\.bias"),
        ({"decoder.mid.attn_1.q.weight": None}, r"missing: decoder\.mid\.attn_1\.q\.weight"),
        ({"post_quant_conv.weight": None}, r"missing: post_quant_conv\.weight"),
        ({"decoder.up.0.block.0.norm1.weight": torch.ones(7)}, r"norm1\.weight has shape \[7\]"),
        ({"decoder.conv_in.weight": torch.ones(7)}, r"conv_in\.weight has shape \[7\], wanted 4"),
        ({"decoder.up.9.block.0.conv1.bias": torch.ones(7)}, r"missing: decoder\.up\.2\.block\.0"),
        ({"decoder.surprise": torch.ones(7)}, r"decoder\.surprise is not part"),
        # taming's `resamp_with_conv=False`
        ({"decoder.up.1.upsample.conv.weight": None, "decoder.up.1.upsample.conv.bias": None},
         r"missing: decoder\.up\.1\.upsample\.conv\.weight"),
        ({"decoder.conv_out.weight": torch.ones(4, 32, 3, 3),
          "decoder.conv_out.bias": torch.ones(4)}, r"conv_out\.weight gives 4 channels"),
    ],
)  # fmt: skip
def test_a_missing_or_misshapen_tensor_is_named_with_its_file(
    change: dict[str, Tensor | None], complaint: str, tmp_path: Path
) -> None:
    state = {**make_state(TAMING), **{k: v for k, v in change.items() if v is not None}}
    state = {name: value for name, value in state.items() if change.get(name, value) is not None}
    checkpoint = read_detokenizer(write_torch_zip(tmp_path / "last.ckpt", state))
    with pytest.raises(CheckpointError, match=rf"last\.ckpt: no decoder \(taming.*{complaint}"):
        build(checkpoint, Settings("x"))


def test_a_decoder_without_a_codebook_and_two_decoders_are_named(tmp_path: Path) -> None:
    state = make_state(TAMING)
    twice = {
        f"{place}.{name}": value for place in ("first", "cond") for name, value in state.items()
    }
    with pytest.raises(CheckpointError, match=r"two: more than one decoder: state_dict\.first\.d"):
        read_detokenizer(write_torch_zip(tmp_path / "two", twice))
    averaged = {"model": make_state(TAMING, seed=1), "ema": state}
    torch.save(averaged, tmp_path / "averaged")
    found = read_detokenizer(tmp_path / "averaged").tensors["decoder.conv_out.bias"]
    assert np.array_equal(found, state["decoder.conv_out.bias"].numpy())
    del state["quantize.embedding.weight"]
    with pytest.raises(CheckpointError, match=r"kl: found a decoder without a codebook: no tensor"):
        read_detokenizer(write_torch_zip(tmp_path / "kl", state))


class Evil:
    """A pickle that runs a command when it is opened as pickles usually are."""

    def __init__(self, command: Callable[[Path], object], mark: Path) -> None:
        self.command, self.mark = command, mark

    def __reduce__(self) -> tuple[Any, ...]:
        return self.command, (self.mark,)


@pytest.mark.parametrize("command", [Path.touch, os.mkdir, subprocess.run])
@pytest.mark.parametrize("modern", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, modern: bool, command: Callable[[Path], object]
) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "it-ran"
    content = {**make_state(TAMING), "extra": Evil(command, mark)}
    torch.save(content, path, _use_new_zipfile_serialization=modern)
    with pytest.raises(CheckpointError, match=r"evil\.pt: refused: its pickle would run code"):
        read_detokenizer(path)
    path.write_bytes(pickle.dumps({"extra": Evil(command, mark)}, protocol=2))
    with pytest.raises(CheckpointError, match=r"evil\.pt: found a pickle .* not opened"):
        read_detokenizer(path)
    assert not mark.exists()


def test_an_object_beside_the_weights_is_neither_run_nor_in_the_way(tmp_path: Path) -> None:
    """The names of trainers' classes stand for nothing, whatever they are called with."""
    namespace = argparse.Namespace(lr=1e-4, nested={"a": argparse.Namespace()})
    torch.save({"state_dict": make_state(TAMING), "hparams": namespace}, tmp_path / "x.ckpt")
    assert read_detokenizer(tmp_path / "x.ckpt").family.name == "taming"


def test_dicts_within_dicts_within_themselves_are_left(tmp_path: Path) -> None:
    content: dict[str, Any] = {"state_dict": make_state(TAMING)}
    content["again"] = content
    tower: dict[str, Any] = {}
    for _ in range(60):  # 2^60 paths through 60 dicts
        tower = {"left": tower, "right": tower}
    content["tower"] = tower
    torch.save(content, tmp_path / "x.ckpt")
    assert read_detokenizer(tmp_path / "x.ckpt").tensors


def test_a_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    """Four bytes that claim to be forty billion numbers."""
    state = make_state(TAMING)
    state["post_quant_conv.weight"] = torch.zeros(1).expand(200_000, 200_000)
    with pytest.raises(CheckpointError, match=r"post_quant_conv\.weight claims the shape"):
        read_detokenizer(write_torch_zip(tmp_path / "x.pt", state))
    state["post_quant_conv.weight"] = torch.zeros(32, 16).to_sparse()
    with pytest.raises(CheckpointError, match=r"post_quant_conv\.weight is not a plain one"):
        read_detokenizer(write_torch_zip(tmp_path / "x.pt", state))


def test_archives_that_are_not_torchs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.bin", b"1")
    with pytest.raises(CheckpointError, match=r"x\.pt: found a zip archive, but not one of torch"):
        read_detokenizer(path)
    np.savez(tmp_path / "x.npz", weight=np.ones(2))
    with pytest.raises(CheckpointError, match=r"x\.npz: found numpy's \.npz; save its arrays as"):
        read_detokenizer(tmp_path / "x.npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10_000_000))
    with pytest.raises(CheckpointError, match=r"compressed member, x/data\.pkl"):
        read_detokenizer(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"1")
        archive.writestr("x/constants.pkl", b"1")
    with pytest.raises(CheckpointError, match=r"x\.pt: found a TorchScript archive"):
        read_detokenizer(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(CheckpointError, match=r"x\.pt: holds a list, not named tensors"):
        read_detokenizer(path)


def ext(data: bytes, length: int | None = None) -> bytes:
    return b"\xc9" + struct.pack(">IB", len(data) if length is None else length, 1) + data


def array(shape: Any, kind: str, data: bytes) -> bytes:
    packed: bytes = msgpack.packb((shape, kind, data))
    return ext(packed)


def pieces(shape: dict[Any, Any], chunks: dict[Any, bytes], **more: int) -> bytes:
    """An array in pieces, as the value of a map's key."""
    packed: list[bytes] = [
        msgpack.packb(part) for part in (CHUNKED, True, "shape", shape, "chunks")
    ]
    packed += [b"".join([bytes([0x80 + len(chunks)]), *packed_items(chunks)])]
    packed += [msgpack.packb(item) for pair in more.items() for item in pair]
    return bytes([0x83 + len(more)]) + b"".join(packed)


def packed_items(chunks: dict[Any, bytes]) -> list[bytes]:
    return [msgpack.packb(key) + value for key, value in chunks.items()]


CHUNKED = "__msgpack_chunked_array__"
FLOATS = array([2], "float32", bytes(8))
MAP = b"\x81\xa1a"  # {"a": …}
HOSTILE_MSGPACK = {
    "a map of four billion": (b"\xdf\xff\xff\xff\xff\xa1a" + b"\x00" * 50, "entries"),
    "a map cut off": (b"\xde\x00\x09\xa1a\x01" + b"\xa1b", "cut short"),
    "nested maps": (MAP * 100_000, "nested deeper"),
    "bytes that are not there": (
        MAP + b"\xc6\xff\xff\xff\xff" + bytes(9),
        "truncated",
    ),
    "an array of four gigabytes": (MAP + ext(bytes(20), 1 << 32 - 1), "truncated"),
    "a shape that lies": (
        MAP + array([1 << 40, 1 << 20], "float32", bytes(8)),
        "8 bytes for shape",
    ),
    "a shape of objects": (MAP + array(["x"], "float32", bytes(8)), "in a: Expected `int`"),
    "a shape without end": (
        MAP + array([1] * 15, "float32", bytes(4)),
        "in a: .*length <= 8",
    ),
    "an unknown type": (MAP + array([1], "object", bytes(8)), "an array of type object"),
    "an array that is none": (MAP + ext(b"\x01"), "in a: Expected `array`"),
    "a short array": (
        MAP + ext(msgpack.packb(([1], "float32", bytes(4))) + b"\x00"),
        "in a: .*trail",
    ),
    "a list": (MAP + b"\xdd\xff\xff\xff\xff", "truncated"),
    "a long key": (b"\x82\xa1a\x01\xda\xff\xff" + bytes(65_536), "a key of 65535 characters"),
    "a key that is no string": (b"\x82\xa1a\x01\x07\x07", "Expected `str`"),
    "a key that is no text": (b"\x82\xa1a\x01\xa2\xff\xfe\x01", "codec can't decode"),
    "a name twice": (
        b"\x82" + 2 * (MAP[1:] + array([1], "float32", bytes(4))),
        "in it occurs twice",
    ),
    "something behind": (MAP + b"\x01" + b"rest", "trailing characters"),
    "pieces that are not there": (b"\x81\xb9" + CHUNKED.encode() + b"\xc3", "more to it than"),
    "pieces and more": (MAP + pieces({"0": 2}, {"0": FLOATS}, more=1), "more to it than"),
    "pieces without a shape": (
        MAP + pieces({}, {"0": FLOATS}),
        r"1 pieces of 2 numbers for .*\[\]",
    ),
    "pieces of another shape": (MAP + pieces({"0": 1 << 60}, {"0": FLOATS}), "2 numbers for shape"),
    "pieces of no size": (MAP + pieces({"0": 0, "1": 1 << 63}, {}), "in pieces of the shape"),
    "pieces of many axes": (
        MAP + pieces({str(axis): (1 << 64) - 1 for axis in range(50_000)}, {"0": FLOATS}),
        "in a: it has more than 8 entries",
    ),
    "no pieces": (MAP + pieces({"0": 2}, {}), "do not fit together"),
    "pieces of two types": (
        MAP + pieces({"0": 4}, {"0": FLOATS, "1": array([2], "float16", bytes(4))}),
        "do not fit together",
    ),
    "pieces that are tables": (
        MAP + pieces({"0": 2}, {"0": array([2, 1], "float32", bytes(8))}),
        "do not fit together",
    ),
    "pieces in disorder": (
        MAP + pieces({"0": 4}, {"1": FLOATS, "0": FLOATS}),
        "not numbered",
    ),
    "a piece that is a number": (MAP + pieces({"0": 1}, {"0": b"\x01"}), "do not fit together"),
    "a piece of another kind": (
        MAP + pieces({"0": 1}, {"0": b"\xc7\x01\x05x"}),
        "do not fit together",
    ),
    "pieces by another name": (
        b"\x83\xb9" + CHUNKED.encode() + b"\xc3\xa1x\x80\xa1y\x80",
        "more to it than",
    ),
    "empty maps": (b"\xdf\x00\x01\xff\xff" + b"\xa1a\x80" * 131_071, "entries"),
}


@pytest.mark.parametrize("name", HOSTILE_MSGPACK)
def test_a_hostile_msgpack_costs_neither_memory_nor_time(name: str, tmp_path: Path) -> None:
    data, complaint = HOSTILE_MSGPACK[name]
    path = tmp_path / "flax_model.msgpack"
    path.write_bytes(data)
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(CheckpointError, match=rf"flax_model\.msgpack: .*{complaint}"):
            read_detokenizer(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert time.perf_counter() - start < 5


def test_msgpack_of_other_kinds_is_passed_by(tmp_path: Path) -> None:
    """Beside the arrays: numbers and text, as a training state has them."""
    tree = {
        "step": 7, "note": "x" * 40, "rate": 1e-3, "none": None, "big": 1 << 40, "raw": b"12",
        "minus": -5, "yes": True, "less": -(1 << 40), "params": 0,
    }  # fmt: skip
    outer = msgpack.packb(tree)
    inner = write_flax(tmp_path / "inner", make_state(FLAX)).read_bytes()
    (tmp_path / "x").write_bytes(outer[:-1] + inner)  # in the place of the last value
    assert read_detokenizer(tmp_path / "x").family.name == "flax"


def test_a_folder_has_one_checkpoint_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(CheckpointError, match=r"with one checkpoint is wanted; found: none$"):
        read_detokenizer(tmp_path)
    (tmp_path / "vqvae").mkdir()  # as in a pipeline of diffusers
    write_torch_zip(tmp_path / "vqvae" / "x", make_state(TAMING))
    with pytest.raises(CheckpointError, match=r"found: none, but in .*/vqvae$"):
        read_detokenizer(tmp_path)
    write_torch_zip(tmp_path / "weights.txt", make_state(TAMING))
    assert read_detokenizer(tmp_path).family.name == "taming"
    write_torch_zip(tmp_path / "more", make_state(TAMING))
    with pytest.raises(CheckpointError, match=r"found: more, weights\.txt; name the one"):
        read_detokenizer(tmp_path)
