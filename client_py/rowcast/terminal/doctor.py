"""`rowcast doctor`: what is installed, what this machine has, and a file that is decoded to see.

Each check is a finding: a title, words, and True if it is as it should be, False if it keeps
something from working, None if it is only told.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from ..cache import default_cache
from ..errors import DetokenizerError
from ..pixels.detokenizer import Detokenizer
from ..pixels.devices import PROVIDERS, usable
from ..pixels.network import redacted
from .cache_files import cache_entries
from .exit_codes import DONE, FAILED
from .install_hints import command_name, install_hint
from .parsers import JSON, CommandParser, command_parser
from .servers import DEFAULT_URL, ENVIRONMENT, TOKEN_VARIABLE, URL_VARIABLE
from .text import answer, answer_json

EXTRAS: Final = ("server", "hub", "torch", "export", "bench", "peer", "training", "completion")
PACKAGES: Final = ("numpy", "onnxruntime", "pillow", "websockets", "httpx", "msgspec", "rich")
PROXIES: Final = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
EMBEDDED: Final = ("rowcast_server", "models/postcard/detokenizer.onnx")
# In a process of its own: a torch that does not fit its drivers may take the process with it.
ASK_TORCH: Final = """
import torch
print(torch.__version__)
for number in range(torch.cuda.device_count()):
    print(torch.cuda.get_device_name(number))
if torch.backends.mps.is_available():
    print("mps")
"""
TORCH_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    title: str
    text: str
    is_well: bool | None = None


def doctor(words: list[str]) -> int:
    """Examine this installation: versions, extras, devices, cache, proxies, a self-test."""
    options = doctor_parser().parse_anywhere(words)
    findings = []
    for finding in examine():
        findings.append(finding)
        if not options.json:
            mark = {True: "ok", False: "!!", None: ""}[finding.is_well]
            answer(f"{mark:<2} {finding.title:<13} {finding.text}")
    wrong = [finding.title for finding in findings if finding.is_well is False]
    if options.json:
        told = [vars(finding) for finding in findings]
        problem = {"error": f"not well: {', '.join(wrong)}"} if wrong else {}
        answer_json({"findings": told} | problem)
    return FAILED if wrong else DONE


def doctor_parser() -> CommandParser:
    """The options of `rowcast doctor`."""
    parser = command_parser(
        "doctor",
        "Examine this installation: versions, extras, devices, the cache, proxies, and a self-test "
        "that decodes a grid. Asks no server. The exit code is 1 if something is not well.",
        "",
        "--json",
    )
    parser.add_argument(JSON, action="store_true", help="say it as one line of JSON on stdout")
    return parser


def examine() -> Iterator[Finding]:
    """All findings, the slow ones last."""
    yield Finding("rowcast", f"{version('rowcast')}, run as {command_name()}")
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}")
    yield Finding("machine", f"{platform.platform()}, {os.cpu_count()} cores")
    yield Finding("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    for extra in EXTRAS:
        yield _extra(extra)
    yield _cache()
    yield from _environment()
    yield _runtime()
    yield _torch()
    yield _self_test()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _extra(extra: str) -> Finding:
    missing = [name for name in dict.fromkeys(_packages_of(extra)) if _version(name) is None]
    if not missing:
        return Finding(f"[{extra}]", "installed", True)
    return Finding(f"[{extra}]", f"without {', '.join(missing)}: {install_hint(extra)}")


def _packages_of(extra: str) -> list[str]:
    """Packages that an extra brings, those of extras within it too."""
    found = []
    for line in requires("rowcast") or ():
        wanted, _, marker = line.partition(";")
        if not re.search(rf"""extra\s*==\s*['"]{extra}['"]""", marker):
            continue
        name, _, inner = re.split(r"[^\w.\[\],-]", wanted.strip())[0].partition("[")
        if name == "rowcast":
            for each in inner.rstrip("]").split(","):
                found += _packages_of(each)
        else:
            found.append(name)
    return found


def _cache() -> Finding:
    try:
        folder = default_cache()
        entries = list(cache_entries(folder))
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        told = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return Finding("cache", f"cannot be written ({told}); $ROWCAST_CACHE names another", False)
    size = sum(entry.bytes for entry in entries) / 1e6
    return Finding("cache", f"{folder}, {len(entries)} entries, {size:,.1f} MB, writable", True)


def _environment() -> Iterator[Finding]:
    """Variables that change what is done; of an address only what is no secret."""
    for name in (*PROXIES, *(each.lower() for each in PROXIES)):
        if value := os.environ.get(name):
            told = f"${name} is {redacted(value)}: for --proxy {ENVIRONMENT} alone"
            yield Finding("proxy", told)
    url = os.environ.get(URL_VARIABLE)
    yield Finding("server", f"${URL_VARIABLE} is {redacted(url)}" if url else f"{DEFAULT_URL}")
    if os.environ.get(TOKEN_VARIABLE):
        yield Finding("token", f"${TOKEN_VARIABLE} is set")
    encoding = getattr(sys.stdout, "encoding", None) or "unknown"
    yield Finding("output", f"in {encoding}, {os.environ.get('TERM', 'no')} terminal")


def _runtime() -> Finding:
    """The execution providers of ONNX Runtime, by their names here."""
    offered: list[str] = []
    for name in PROVIDERS:
        try:
            offered += usable((name,))
        except (DetokenizerError, ImportError):
            continue
    return Finding("ONNX Runtime", f"{_version('onnxruntime')} offers {', '.join(offered)}")


def _torch() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("torch", "not installed: GPUs are for torch, and not needed")
    command = [sys.executable, "-c", ASK_TORCH]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_SECONDS)
    except subprocess.TimeoutExpired:
        return Finding("torch", f"does not load within {TORCH_SECONDS:g} s", False)
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1]
        return Finding("torch", f"cannot be loaded: {last}", False)
    number, *devices = asked.stdout.splitlines()
    return Finding("torch", f"{number} sees {', '.join(devices) or 'no GPU'}", True)


def _self_test() -> Finding:
    """Load the embedded model's detokenizer, which decodes its self-test grid."""
    package, file = EMBEDDED
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(places[0], file) if places else None
    if path is None or not path.is_file():
        return Finding("self-test", f"left out: {install_hint('server')}")
    begun = time.perf_counter()
    try:
        detokenizer = Detokenizer(path)
    except (DetokenizerError, ImportError) as error:
        return Finding("self-test", str(error), False)
    seconds = time.perf_counter() - begun
    told = f"{detokenizer.precision} on {detokenizer.provider} in {seconds:.2f} s"
    return Finding("self-test", f"decoded the embedded model's grid, {told}", True)
