"""The incremental file: verified before it gets its name, and each way of being wrong is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rowcast_export import incremental_verify
from rowcast_export.export import export_detokenizer
from rowcast_export.formats import read_detokenizer
from rowcast_export.incremental import IncrementalModule
from rowcast_export.incremental_calibration import calibrate
from rowcast_export.incremental_file import CARRIED_FROM, NORM_STATISTICS, make_incremental
from rowcast_export.incremental_painting import OnnxUpdater, Painting, TorchUpdater
from rowcast_export.incremental_verify import Schedule, verify_incremental
from rowcast_export.manifest import Exported
from rowcast_export.settings import Settings, settle
from rowcast_export.verify import VerificationFailed
from rowcast_export.vqgan import VQGANDecoder

Tamper = Callable[[onnx.ModelProto], None]


@dataclass(frozen=True)
class Written:
    path: Path
    module: IncrementalModule
    metadata: dict[str, str]


def write(decoder: VQGANDecoder, path: Path, redone: int = 5) -> Written:
    calibration = calibrate(decoder) if redone < CARRIED_FROM else None
    module = IncrementalModule(decoder, calibration)
    _, metadata, _ = make_incremental(module, path, "tiny", "ab" * 32, redone, threads=1)
    return Written(path, module, metadata)


@pytest.fixture(scope="module")
def written(module: VQGANDecoder, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write(module, tmp_path_factory.mktemp("incremental") / "incremental.onnx")


def test_a_sound_file_passes_and_is_measured(written: Written) -> None:
    steps: list[tuple[str, int, int]] = []
    agreement = verify_incremental(
        written.path,
        written.module,
        written.metadata,
        threads=1,
        on_progress=lambda what, done, total: steps.append((what, done, total)),
    )
    assert agreement.updates == 15
    assert agreement.value_difference < 1e-4
    assert agreement.full_difference < 1e-3
    assert [done for _, done, _ in steps] == [0, 0, 1, 2, 3, 4]


def test_what_the_file_says_of_itself(written: Written, module: VQGANDecoder) -> None:
    told = written.metadata
    assert told["rowcast.kind"] == "incremental"
    assert told["rowcast.model"] == "tiny"
    assert told["rowcast.redone_half_rows"] == "5"
    assert told["rowcast.norm_statistics"] == NORM_STATISTICS["carried"]
    assert json.loads(told["rowcast.caches"]) == [[32, 2]] * 4
    assert told["rowcast.carried_groups"] == str(3 * 32)
    assert json.loads(told["rowcast.self_test"])["updates"] == [3, 5, 8]


def test_a_narrow_window_has_calibrated_norms_in_the_file(
    written: Written, module: VQGANDecoder, tmp_path: Path
) -> None:
    narrow = write(module, tmp_path / "narrow.onnx", redone=2)
    assert narrow.metadata["rowcast.norm_statistics"] == NORM_STATISTICS["calibrated"]
    ids = np.random.default_rng(0).integers(0, 50, (1, 8, 6))
    carried = Painting(TorchUpdater(written.module), 2)  # the same window, other statistics
    mine = Painting(OnnxUpdater(narrow.path, threads=1), 2)
    pairs = [(mine.show(ids[:, :rows]), carried.show(ids[:, :rows])) for rows in range(1, 9)]
    assert np.abs(pairs[0][0] - pairs[0][1]).max() < 1e-3
    assert np.abs(pairs[-1][0] - pairs[-1][1]).max() > 1e-2


def test_the_same_decoder_gives_the_same_bytes(
    written: Written, module: VQGANDecoder, tmp_path: Path
) -> None:
    again = write(module, tmp_path / "again.onnx")
    assert again.path.read_bytes() == written.path.read_bytes()


def test_nothing_is_exported_where_verification_fails(
    checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incremental_verify, "LARGEST_DIFFERENCE", -1.0)
    checkpoint = read_detokenizer(checkpoint_file)
    settings = settle(checkpoint.metadata, Settings("tiny"))
    with pytest.raises(VerificationFailed, match="values differ by"):
        export_detokenizer(checkpoint, tmp_path / "out", settings, threads=1, incremental=True)
    assert list(tmp_path.iterdir()) == []


def test_a_window_that_redoes_nothing_is_refused(module: VQGANDecoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="redone_half_rows must be at least 1, not 0"):
        write(module, tmp_path / "incremental.onnx", redone=0)


@pytest.fixture(scope="module")
def borrowed(
    exported: Exported, module: VQGANDecoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same with its weights in the full decoder's file."""
    path = tmp_path_factory.mktemp("borrowed") / "incremental.onnx"
    weights = exported.path.name, exported.path.read_bytes()
    incremental = IncrementalModule(module)
    make_incremental(incremental, path, "tiny", "ab" * 32, threads=1, weights=weights)
    return path


def test_beside_the_full_file_it_has_no_weights_and_computes_the_same(
    written: Written, borrowed: Path, exported: Exported
) -> None:
    notes = {
        item.key: item.value
        for item in onnx.load(borrowed, load_external_data=False).metadata_props
    }
    assert notes["rowcast.weights_sha256"] == exported.sha256
    assert notes["rowcast.weights_file"] == exported.path.name == "detokenizer.onnx"
    assert notes["rowcast.weights_bytes"] == str(exported.bytes)
    assert borrowed.stat().st_size < written.path.stat().st_size - 0.8 * exported.bytes + 60_000
    ids = np.random.default_rng(0).integers(0, 50, (1, 8, 6))
    weights = exported.path.name, exported.path.read_bytes()
    mine = Painting(OnnxUpdater(borrowed.read_bytes(), 1, weights), 5)
    inside = Painting(OnnxUpdater(written.path, threads=1), 5)
    for rows in range(1, 9):
        assert np.array_equal(mine.show(ids[:, :rows]), inside.show(ids[:, :rows]))


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("location", "another.onnx", "not a valid ONNX file: the tensor .* lies at"),
        ("offset", "999999999", "not a valid ONNX file: the tensor .* lies at"),
        ("offset", "0", "values differ by|NaN or infinity|ONNX Runtime"),
    ],
)
def test_weights_in_a_wrong_place_are_a_fault(
    borrowed: Path, exported: Exported, written: Written, tmp_path: Path,
    key: str, value: str, complaint: str,
) -> None:  # fmt: skip
    model = onnx.load(borrowed, load_external_data=False)
    metadata = {item.key: item.value for item in model.metadata_props}
    tensor = next(t for t in model.graph.initializer if t.external_data and len(t.dims) == 4)
    next(entry for entry in tensor.external_data if entry.key == key).value = value
    (tmp_path / "tampered.onnx").write_bytes(model.SerializeToString())
    weights = exported.path.name, exported.path.read_bytes()
    with pytest.raises(VerificationFailed, match=complaint):
        verify_incremental(
            tmp_path / "tampered.onnx", written.module, metadata, threads=1, weights=weights
        )


def test_a_graph_that_needs_another_file_is_no_file_of_its_own(
    borrowed: Path, written: Written
) -> None:
    with pytest.raises(VerificationFailed, match=r"weights in other files|not a valid ONNX file"):
        verify_incremental(borrowed, written.module, written.metadata, threads=1)


def change(model: onnx.ModelProto, name: str, by: float) -> None:
    tensor = next(each for each in model.graph.initializer if each.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += by
    tensor.raw_data = values.tobytes()


def weight_of_the_band(model: onnx.ModelProto) -> None:
    change(model, "decoder.decoder.up.0.block.0.conv1.weight", 1.0)


def weight_of_the_trunk(model: onnx.ModelProto) -> None:
    change(model, "decoder.decoder.conv_in.weight", 1.0)


def poisoned(model: onnx.ModelProto) -> None:
    change(model, "decoder.post_quant_conv.bias", float("nan"))


def swapped_caches(model: onnx.ModelProto) -> None:
    """Two caches of one shape: names, axes and first updates are right."""
    swap = {"cache_1": "cache_2", "cache_2": "cache_1"}
    for node in model.graph.node:
        node.input[:] = [swap.get(name, name) for name in node.input]


def forgotten_state(model: onnx.ModelProto) -> None:
    """What is carried comes back as it went in."""
    for node in model.graph.node:
        node.output[:] = ["lost" if name == "carried_next" else name for name in node.output]
    model.graph.node.append(helper.make_node("Identity", ["carried"], ["carried_next"]))


def renamed_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "picture"
    for node in model.graph.node:
        node.output[:] = ["picture" if name == "pixels" else name for name in node.output]


def fixed_lines(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 7


def narrow_ids(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


def foreign_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def another_window(model: onnx.ModelProto) -> None:
    next(p for p in model.metadata_props if p.key == "rowcast.redone_half_rows").value = "4"


@pytest.mark.parametrize(
    ("tamper", "complaint"),
    [
        (weight_of_the_band, "16 wide, 1 rows: values differ by"),
        (weight_of_the_trunk, "16 wide, 2 rows: values differ by"),
        (swapped_caches, "16 wide, 4 rows: values differ by"),
        (forgotten_state, "16 wide, 4 rows: values differ by"),
        (poisoned, "NaN or infinity"),
        (renamed_output, "outputs: found .*picture"),
        (fixed_lines, r"inputs: found .*'window', 'INT64', \[7\]"),
        (narrow_ids, "inputs: found .*INT32"),
        (foreign_operator, "opset: found .*com.microsoft"),
        (another_window, "metadata: found .*'rowcast.redone_half_rows': '4'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_fault_is_named(
    written: Written, tmp_path: Path, tamper: Tamper, complaint: str
) -> None:
    model = onnx.load(written.path)
    tamper(model)
    onnx.save(model, tmp_path / "tampered.onnx")
    with pytest.raises(VerificationFailed, match=complaint):
        verify_incremental(tmp_path / "tampered.onnx", written.module, written.metadata, threads=1)


def test_a_wrong_self_test_is_a_fault(written: Written, tmp_path: Path) -> None:
    fields = json.loads(written.metadata["rowcast.self_test"])
    fields["thumbnail"][5] += 3
    metadata = {**written.metadata, "rowcast.self_test": json.dumps(fields)}
    model = onnx.load(written.path)
    helper.set_model_props(model, metadata)
    onnx.save(model, tmp_path / "tampered.onnx")
    with pytest.raises(VerificationFailed, match="thumbnail differs by 3"):
        verify_incremental(tmp_path / "tampered.onnx", written.module, metadata, threads=1)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_file_is_a_fault(written: Written, tmp_path: Path, share: float) -> None:
    data = written.path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VerificationFailed, match="not a valid ONNX file"):
        verify_incremental(tmp_path / "cut.onnx", written.module, written.metadata, threads=1)


def test_schedules_cover_what_differs() -> None:
    """Single rows and jumps, batches, widths, and pictures that leave the window."""
    schedules = incremental_verify.SCHEDULES
    assert {schedule.batch for schedule in schedules} == {1, 2, 3}
    assert any(_jumps(schedule) for schedule in schedules)
    assert len({schedule.cols for schedule in schedules}) == 3


def _jumps(schedule: Schedule) -> bool:
    steps = np.diff(schedule.updates)
    return bool((steps > 1).any())
