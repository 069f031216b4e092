"""ONNX's external data: the graphs of a large model as files whose weights ONNX Runtime maps.

A small model's graphs stay in memory. A large model's weights are written once, one tensor at a
time, into the cache, under a hash of the graph and the weights. The values are the same, so the
bits of the logits are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, helper
from rowcast.cache import default_cache

from ..errors import ModelError
from ..kept_folders import cached_folder
from .decoder_graph import decoder_step_graph
from .encoder_graph import encoder_graph
from .facts import CacheKind, Network
from .graph_builder import Store, store_inside
from .tensors import Array, blocks, shape_of

LARGE_BYTES: Final = 256 << 20  # of float32 weights; a protobuf ends at 2 GiB
LARGE_TENSOR_BYTES: Final = 64 << 10  # smaller ones stay in the graph
ALIGNMENT: Final = 4096  # a page, so that it can be mapped
MODEL_FILE: Final = "model.onnx"
DATA_FILE: Final = "weights.bin"

Graph = Callable[[Store], onnx.ModelProto]
Source = bytes | str  # what onnxruntime.InferenceSession takes: a model, or the path of one


def graph_sources(network: Network, cache: CacheKind, bits: int = 32) -> tuple[Source, Source]:
    """The encoder's graph and the decoder step's, with caches of a kind; the step's matrices are
    in ``bits``.

    Raises ModelError where the folder for a large model's graphs cannot be written.
    """
    encoder, decoder, digest = network.encoder, network.decoder, network.digest

    def encode(store: Store) -> onnx.ModelProto:
        return encoder_graph(encoder, decoder, store)

    def step(store: Store) -> onnx.ModelProto:
        return decoder_step_graph(decoder, network.grid.codebook_size, cache, store, bits)

    sources = graphs_of((encoder, decoder), digest, encode, step)
    return sources[0], sources[1]


def graphs_of(
    weights: Iterable[Mapping[str, NDArray[np.floating]]], digest: bytes | None, *graphs: Graph
) -> list[Source]:
    """Graphs of these weights: in memory, or as files where the weights are large and have a digest
    to keep them by. Raises ModelError where their folder cannot be written."""
    if digest is None or sum(map(_bytes, weights)) < LARGE_BYTES:
        return [graph(store_inside).SerializeToString() for graph in graphs]
    return [str(graph_file(graph, digest)) for graph in graphs]


def _bytes(weights: Mapping[str, NDArray[np.floating]]) -> int:
    return sum(4 * int(np.prod(shape_of(weights, name))) for name in weights)


def graph_file(graph: Graph, digest: bytes) -> Path:
    """The path of a graph with its weights in a file beside it, written unless it is in the
    cache."""
    data = _ExternalData()
    model = graph(data.store).SerializeToString()

    def make(folder: Path) -> None:
        data.write(folder / DATA_FILE)
        (folder / MODEL_FILE).write_bytes(model)

    key = hashlib.sha256(digest + model).digest()
    try:
        return cached_folder("graphs", key, make) / MODEL_FILE
    except OSError as error:
        raise ModelError(
            f"{default_cache()} cannot hold the model's weights ({error.strerror or error}; "
            f"they take {data.size / 1e9:.1f} GB); set ROWCAST_CACHE to a folder that can"
        ) from error


class _ExternalData:
    """Gives each large initializer a place in a file, and writes the file."""

    def __init__(self) -> None:
        self._readers: list[tuple[int, np.dtype[Any], Callable[[], Array]]] = []
        self.size = 0

    def store(
        self, name: str, dtype: DTypeLike, shape: tuple[int, ...], read: Callable[[], Array]
    ) -> TensorProto:
        kind = np.dtype(dtype)
        length = kind.itemsize * int(np.prod(shape))
        if length < LARGE_TENSOR_BYTES:
            return store_inside(name, dtype, shape, read)
        offset = -(-self.size // ALIGNMENT) * ALIGNMENT
        self._readers.append((offset, kind, read))
        self.size = offset + length
        data_type = helper.np_dtype_to_tensor_dtype(kind)
        tensor = TensorProto(name=name, data_type=data_type, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", DATA_FILE), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def write(self, path: Path) -> None:
        with path.open("wb") as file:
            for offset, dtype, read in self._readers:
                file.seek(offset)
                for block in blocks(read()):
                    file.write(np.ascontiguousarray(block, dtype).data)
