"""The machine that a benchmark runs on: its processor, and what that can do at most.

A ratio tells little without the share of what the hardware allows: drawing one picture is bound
by reading weights from memory, drawing many and decoding pixels by multiplications.
"""

from __future__ import annotations

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import onnx.parser
from rowcast.pixels.runtime import import_onnxruntime
from rowcast_server.config import usable_cores

READ_BYTES: Final = 1 << 30
PRODUCT_SIZE: Final = 1_536  # rows and columns of the matrices that are multiplied
REPEATS: Final = 5
VECTORS: Final = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimd", "NEON"))  # widest first


def describe(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Processor, usable cores and widest vector instructions, as far as the system tells them."""
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.is_file() else []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = (told.get("flags") or told.get("Features") or "").split()
    vectors = next((name for flag, name in VECTORS if flag in flags), "")
    name = told.get("model name", platform.machine())
    return ", ".join(filter(None, (name, f"{usable_cores()} cores", vectors)))


def read_gigabytes_per_second(threads: int, size: int = READ_BYTES) -> float:
    """The best rate at which ``threads`` threads sum ``size`` bytes of float32.

    By default a gibibyte, far over any cache.
    """
    values = np.ones(size // 4, np.float32)
    parts = np.array_split(values, threads)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(REPEATS):
            begun = time.perf_counter()
            list(pool.map(np.sum, parts))
            best = max(best, values.nbytes / (time.perf_counter() - begun) / 1e9)
    return best


def gigaflops(threads: int, size: int = PRODUCT_SIZE) -> float:
    """The best rate at which ONNX Runtime multiplies matrices [size, size] of float32.

    In 10^9 operations a second, of which a multiply-add is two.
    """
    square = f"float[{size}, {size}]"
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 18]> product ({square} a, {square} b) => ({square} c)'
        "{ c = MatMul(a, b) }"
    )
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = {name: np.ones((size, size), np.float32) for name in "ab"}
    best = 0.0
    for _ in range(REPEATS):
        begun = time.perf_counter()
        session.run(None, inputs)
        best = max(best, 2 * size**3 / (time.perf_counter() - begun) / 1e9)
    return best
