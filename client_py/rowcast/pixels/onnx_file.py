"""Opening and self-test of a decoder's ONNX file.

Files tell about themselves in their metadata (`rowcast.*`), and carry a self-test: a picture, as a
thumbnail, that a runtime must come near to before it may paint.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import DetokenizerError
from .devices import PROVIDERS
from .runtime import import_onnxruntime

FORMAT: Final = "1"
# A graph is somebody else's program. No decode takes longer than this; and all graphs together get
# half of this machine's memory, or so much if that is not known.
RUN_SECONDS = 120.0
MEMORY_BYTES: Final = 8 * 2**30
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
    options.add_session_config_entry("session.use_env_allocators", "1")
    _bound_memory()
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


def run(session: Any, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The pixels of a graph [batch, 3, height, width] for ids [batch, rows, cols].

    Raises whatever ONNX Runtime does, also where it takes longer than RUN_SECONDS.
    """
    options = import_onnxruntime().RunOptions()
    timer = threading.Timer(RUN_SECONDS, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        (pixels,) = session.run(["pixels"], {"ids": ids}, options)
    finally:
        timer.cancel()
    return pixels  # type: ignore[no-any-return]


@cache
def _bound_memory() -> None:
    """Bound what all graphs of this process take on the CPU: more is an error of the run."""
    onnxruntime = import_onnxruntime()
    try:
        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # Windows
        most = MEMORY_BYTES
    place = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg({"max_mem": most}))


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
