"""The command line of the kit; README.md says how it is used."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # python path/to/conformance
    import runpy

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    runpy.run_module(Path(__file__).resolve().parent.name, run_name="__main__", alter_sys=True)
    raise SystemExit

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
