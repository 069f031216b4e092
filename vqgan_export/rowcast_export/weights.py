"""A graph whose weights lie in another file, as ONNX external data.

Each large tensor that the other file holds, byte for byte, becomes a place in it: `location`,
`offset` and `length`. So the graph is small, and whoever has the other file needs nothing twice:
any ONNX runtime opens the two beside each other, or is given the bytes of the other one. This
module must not know what the graphs compute.
"""

from __future__ import annotations

import hashlib
from typing import Final

import onnx
from onnx import TensorProto

SMALLEST_BORROWED: Final = 1024  # bytes; the place of a smaller tensor is hardly smaller itself
FILE_KEY: Final = "rowcast.weights_file"
SHA256_KEY: Final = "rowcast.weights_sha256"
BYTES_KEY: Final = "rowcast.weights_bytes"


class WeightsMissing(ValueError):
    """A tensor lies where the other file has no such place; the message says which."""


def borrow_weights(model: onnx.ModelProto, data: bytes, file_name: str) -> onnx.ModelProto:
    """A copy of `model` without the tensors that the file `data` holds, itself an ONNX file.

    `file_name` is what it will be called beside the graph.
    """
    places: dict[bytes, int] = {}  # by content
    at = 0
    for tensor in onnx.load_from_string(data).graph.initializer:
        at = data.index(tensor.raw_data, at)  # in the order of the file
        places.setdefault(_content(tensor), at)
        at += len(tensor.raw_data)
    borrowing = onnx.ModelProto()
    borrowing.CopyFrom(model)
    for tensor in borrowing.graph.initializer:
        length = len(tensor.raw_data)
        place = places.get(_content(tensor))
        if place is None or length < SMALLEST_BORROWED:
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", file_name), ("offset", place), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
    return borrowing


def with_weights(model: onnx.ModelProto, data: bytes, file_name: str) -> onnx.ModelProto:
    """A copy of `model` with its tensors inside again. Raises WeightsMissing."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    for tensor in whole.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        try:
            first, length = int(place["offset"]), int(place["length"])
        except (KeyError, ValueError) as error:
            raise WeightsMissing(f"the tensor {tensor.name} lies at {place}") from error
        if place.get("location") != file_name or not 0 <= first <= first + length <= len(data):
            raise WeightsMissing(
                f"the tensor {tensor.name} lies at {place}, not in the {len(data)} bytes of "
                f"{file_name}"
            )
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = data[first : first + length]
    return whole


def weights_notes(data: bytes, file_name: str) -> dict[str, str]:
    """What the metadata of a borrowing graph says of the file that it needs."""
    return {
        FILE_KEY: file_name,
        SHA256_KEY: hashlib.sha256(data).hexdigest(),
        BYTES_KEY: str(len(data)),
    }


def _content(tensor: TensorProto) -> bytes:
    kind = tensor.data_type.to_bytes(4, "little")
    return hashlib.sha256(kind + tensor.raw_data).digest()
