"""The grid that a client decodes when it loads a file."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
from rowcast_export.manifest import Exported
from rowcast_export.runtime import OnnxDetokenizer, to_bytes
from rowcast_export.self_test import SelfTest, fixed_ids, thumbnail


def test_ids_are_the_same_everywhere() -> None:
    """Written out, so that a change is seen: files of the same weights would change their names."""
    assert fixed_ids(4, 16384) == [11110, 12915, 7738, 133]
    assert all(0 <= value < 50 for value in fixed_ids(1000, 50))


def test_a_thumbnail_is_the_mean_of_each_block() -> None:
    picture = np.zeros((8, 16, 3), dtype=np.uint8)
    picture[0:2, 4:8] = (10, 20, 30)  # the block in row 0, column 1
    picture[6:8, 12:16, 2] = np.array([[0, 1, 0, 1]] * 2)  # mean 0.5 rounds up
    values = np.array(thumbnail(picture, 4)).reshape(4, 4, 3)
    assert values[0, 1].tolist() == [10, 20, 30]
    assert values[3, 3].tolist() == [0, 0, 1]
    assert values.sum() == 61


def test_the_json_has_the_fields_that_clients_read(exported: Exported) -> None:
    fields = json.loads(exported.metadata["rowcast.self_test"])
    assert (fields["rows"], fields["cols"]) == (4, 4)
    assert (fields["thumbnail_side"], fields["tolerance"]) == (4, 2)
    assert len(fields["ids"]) == 16
    assert len(fields["thumbnail"]) == 48
    assert len(fields["pixels_sha256"]) == 64
    assert SelfTest(**fields).to_json() == exported.metadata["rowcast.self_test"]


def test_it_passes_on_this_file_and_tells_another_picture_apart(exported: Exported) -> None:
    detokenizer = OnnxDetokenizer(exported.path, threads=1)
    test = SelfTest.from_json(detokenizer.metadata["rowcast.self_test"])
    assert test.thumbnail_difference(detokenizer) == 0
    transposed = np.array(test.ids).reshape(4, 4).T.ravel().tolist()
    other = dataclasses.replace(test, ids=transposed)
    assert other.thumbnail_difference(detokenizer) > test.tolerance


def test_bytes_are_floored_and_channels_come_last() -> None:
    pixels = np.array([0.0, 0.5, 0.999, 1.0], dtype=np.float32).reshape(1, 1, 2, 2)
    assert to_bytes(np.repeat(pixels, 3, axis=1)).shape == (1, 2, 2, 3)
    assert to_bytes(pixels)[0, :, :, 0].tolist() == [[0, 127], [254, 255]]
