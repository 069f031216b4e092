"""The JSON of `rowcast bench transport`, its keys, and what is kept of a run that was stopped.

Keys of `transport.json`, stable within a ``schema``:

- ``schema``; ``machine``, ``cores``, ``gigaflops`` (what the cores multiply), ``versions``,
  ``command``, ``quick``, ``seconds``, ``load_before`` (of the machine, a minute's mean),
  ``link_kind`` (``tun``: a user-space link between two namespaces; ``none``: loopback alone),
  ``not_run`` (why links are missing, or empty)
- ``links``: by name ``label``, ``rate`` (bits/s, 0: not shaped), ``round_trip`` (s), ``loss``
- ``ways``: by name ``label``, ``protocol``, ``frames``, ``format``, ``tier``, ``strips``,
  ``progressive``, ``whole_grid`` (`ways.Way`)
- ``galleries``: by name ``label``, ``side`` (pixels), ``rows``, ``cols``, ``codebook_size``,
  ``paces`` (by name, seconds of each row), ``file_bytes`` (by "kind precision"),
  ``gflop_a_decode``, ``decode_costs`` (list of ``rows``, ``ms``, ``cpu_ms``; on 2 threads)
- ``page_bytes``: the code of the server's page as it travels, ``page`` and ``onnxruntime``; null
  where it is not built
- ``quality``: by gallery and way, a list of ``rows``, ``psnr_db``, ``ssim``, ``psnr_db_rows``
- ``combinations``: a list; of each ``gallery``, ``pace``, ``link``, ``way``, ``kind`` (``measured``
  or ``computed``), ``pictures``, ``rows``, ``payload_bytes`` (down, a picture), ``link_bytes`` and
  ``link_bytes_up`` (packets, and this picture's share of those that opened the connection; not of
  loopback), ``first_row_ms`` (from the request),
  ``row_to_glass_ms`` (``p50``, ``p99``, ``p99_9``), ``generation_ms`` (from the request to the last
  row), ``final_added_ms`` (from the last row to the final picture), ``availability`` (0 … 1),
  ``server_cpu_ms`` (of it ``server_decode_cpu_ms``, which is measured apart where ``galleries`` say
  ``decodes_in_run`` false), ``server_decodes``, ``client_cpu_ms``, ``frames`` (rows held, bytes)
- ``grids``: by name ``side`` (tokens), ``pixels``, ``tokens_bytes``, ``jpeg_bytes``,
  ``eight_jpegs_bytes``
- ``derived``: `derived.derive`: ``break_even``, ``sustained``, ``cost``, ``energy``,
  ``bits_per_pixel``, ``first_visit``, ``expectations``, ``reversals``
- ``repeatability``: in %, by figure ``median`` and ``largest``, or null where nothing was measured
  twice
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from rowcast.whole_files import whole_file

SCHEMA: Final = 2
Figures = dict[str, Any]


class Kept:
    """Combinations that were measured, in a file beside the results until those are whole.

    ``conditions`` are what they depend on; a file of others is begun anew.
    """

    def __init__(self, path: Path, conditions: Figures) -> None:
        self._path = path
        self._conditions = json.loads(json.dumps(conditions))
        self._found: dict[str, Figures] = {}
        self.other: Figures = {}
        try:
            told = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return
        if told.get("conditions") == self._conditions:
            self._found, self.other = told["found"], told["other"]

    def get(self, key: str) -> Figures | None:
        return self._found.get(key)

    def put(self, key: str, figures: Figures) -> None:
        """Keep the figures of a combination."""
        self._found[key] = figures
        told = {"conditions": self._conditions, "found": self._found, "other": self.other}
        write(self._path, told)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def write(path: Path, content: Figures) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read(path: Path) -> Figures:
    """The results in a file."""
    found: Figures = json.loads(path.read_text("utf-8"))
    return found
