"""Install hints: how an extra is installed here, and how this program is called here.

One place for all packages: a hint that cannot be typed as it stands is worse than none.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Extras by the module that is missing without them; of all others it is the command's own.
EXTRAS = {
    "huggingface_hub": "hub",
    "matplotlib": "transport",
    "min_dalle": "peer",
    "msgpack": "bench",
    "onnxscript": "export",
    "playwright": "transport",
    "ray": "ray",
    "shtab": "completion",
    "skimage": "transport",
    "torch": "torch",
    "tqdm": "training",
}


def install_hint(*extras: str) -> str:
    """The command line that installs extras: ``pip install 'rowcast[server]'``.

    From a checkout it is ``pip install '.[server]'``, with the checkout's path where that is not
    the working directory.
    """
    checkout = _checkout()
    what = "rowcast" if checkout is None else "." if _is_here(checkout) else str(checkout)
    names = f"[{','.join(extras)}]" if extras else ""
    return f"{_pip()} install '{what}{names}'"


def extra_of(module: str, otherwise: str = "server") -> str:
    """The extra that brings a module that is missing."""
    return EXTRAS.get(module.partition(".")[0], otherwise)


def command_name() -> str:
    """What is typed here to run `rowcast`: its path where the shell does not find it."""
    script = Path(sys.executable).parent / ("rowcast.exe" if os.name == "nt" else "rowcast")
    found = shutil.which("rowcast")
    if found is not None and Path(found).resolve() == script.resolve():
        return "rowcast"
    if not script.is_file():
        return "rowcast" if found else f"{_short(Path(sys.executable))} -m rowcast"
    return _short(script)


def _checkout() -> Path | None:
    """The folder that rowcast was installed from, if it is one and still there."""
    try:
        told = distribution("rowcast").read_text("direct_url.json")
        url = urlsplit(json.loads(told or "{}").get("url", ""))
    except (PackageNotFoundError, ValueError, AttributeError):
        return None
    folder = Path(unquote(url.path))
    return folder if url.scheme == "file" and (folder / "pyproject.toml").is_file() else None


def _pip() -> str:
    """`pip` of this environment: the shell's may be another's."""
    found = shutil.which("pip")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return "pip"
    return f"{_short(Path(sys.executable))} -m pip"


def _is_here(folder: Path) -> bool:
    try:
        return folder.samefile(Path.cwd())
    except OSError:
        return False


def _short(path: Path) -> str:
    """A path as it may be typed: relative where it is below the working directory."""
    with contextlib.suppress(ValueError, OSError):  # elsewhere, or no working directory at all
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))
