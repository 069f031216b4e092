"""A writer of safetensors files, one tensor at a time: never more than one is in memory.

The library's own writer takes all tensors at once. Format:
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from ..errors import ModelError
from ..network.tensors import Tensors, blocks

CODES: Final = {
    np.dtype(np.float64): "F64",
    np.dtype(np.float32): "F32",
    np.dtype(np.float16): "F16",
    np.dtype(ml_dtypes.bfloat16): "BF16",
}


def write_safetensors(
    path: Path, tensors: Tensors, dtype: np.dtype[Any] | None, on_bytes: Callable[[int], None]
) -> None:
    """Write tensors in ``dtype``; None keeps each tensor's own. ``on_bytes`` is called with each
    block's size.

    Raises OSError, and ModelError naming a tensor with values beyond the dtype's range; a partial
    file is left to the caller.
    """
    dtypes = {name: dtype or tensors.dtype(name) for name in tensors}
    # The largest first, as the format asks for alignment by falling size of the dtype.
    names = sorted(tensors, key=lambda name: (-dtypes[name].itemsize, name))
    header: dict[str, Any] = {}
    end = 0
    for name in names:
        start, shape = end, tensors.shape(name)
        end += int(np.prod(shape)) * dtypes[name].itemsize
        header[name] = {
            "dtype": CODES[dtypes[name]],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            for block in blocks(tensors.stored(name)):
                with np.errstate(over="ignore"):
                    values = np.ascontiguousarray(block, dtypes[name])
                if not np.isfinite(values).all():
                    raise ModelError(
                        f"{tensors.path}: {name} has values that {dtypes[name]} cannot hold; "
                        "choose another --dtype"
                    )
                file.write(values.reshape(-1).view(np.uint8).data)
                on_bytes(values.nbytes)
