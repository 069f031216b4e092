"""Opening and self-test of a decoder's ONNX file.

Files tell about themselves in their metadata (`rowcast.*`), and carry a self-test: a picture, as a
thumbnail, that a runtime must come near to before it may paint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import DetokenizerError
from .devices import PROVIDERS
from .runtime import import_onnxruntime

FORMAT: Final = "1"
# What reading metadata that somebody else wrote may raise.
DAMAGE: Final = (KeyError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError)


def open_file(
    source: Path | str | bytes, path: Path, threads: int, provider: str
) -> tuple[Any, dict[str, str]]:
    """The ONNX Runtime session and the metadata of a file, or of its bytes.

    ``path`` is the file's name in errors; ``threads`` bounds what a run takes of the machine.
    Raises DetokenizerError.
    """
    onnxruntime = import_onnxruntime()  # here: whoever only shows a palette does not wait for it
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # failures are raised, and told in our own words
    model: bytes | str = source if isinstance(source, bytes) else str(source)
    try:
        # (The fallback, to the CPU again, prints on stdout.)
        session = onnxruntime.InferenceSession(
            model, options, providers=[PROVIDERS[provider]], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise DetokenizerError(
            f"{path} is no ONNX file, or is damaged ({error}); fetch or export it anew"
        ) from error
    try:
        return session, dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError as error:
        raise DetokenizerError(
            f"{path} has damaged metadata ({error}); fetch or export it anew"
        ) from error


def check_thumbnail(
    path: Path, pixels: NDArray[np.uint8], shape: tuple[int, int], test: Mapping[str, Any]
) -> None:
    """Compare the self-test's picture [height, width, 3] with its thumbnail of block means.

    ``shape`` is (height, width). Raises DetokenizerError where colours differ by more than the
    file's tolerance, ValueError for another shape.
    """
    if pixels.shape != (*shape, 3):
        raise ValueError(f"a picture of shape {pixels.shape}")
    side = int(str(test["thumbnail_side"]))
    blocks = pixels.astype(np.float64).reshape(side, shape[0] // side, side, shape[1] // side, 3)
    expected = np.array(test["thumbnail"], np.float64).reshape(side, side, 3)
    worst = float(np.abs(blocks.mean((1, 3)) - expected).max())
    if not worst <= float(str(test["tolerance"])):
        raise DetokenizerError(
            f"{path} fails its self-test: colours differ by up to {worst:.1f} of 255; export it "
            "anew, or try another of the providers"
        )
