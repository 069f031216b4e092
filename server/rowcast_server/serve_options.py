"""The options of `rowcast serve`, from the command line and from a file of settings (TOML)."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import logging
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rowcast.errors import RowcastError
from rowcast.terminal.install_hints import install_hint

from .config import ServerConfig, usable_cores
from .network.facts import DEFAULT_CACHE, CacheKind
from .placement import DTYPES, place_all, place_replicas

logger = logging.getLogger(__name__)

MAX_PUBLIC_URL = 900  # characters: with a file's name behind it, it fits what `welcome` can tell
SETTINGS = [setting for setting in fields(ServerConfig) if setting.metadata]  # that are options
NOT_IN_FILES = ("config", "help", "version", "stop_at_eof")


def serve_parser() -> argparse.ArgumentParser:
    """The options of `rowcast serve`."""
    parser = argparse.ArgumentParser(
        prog="rowcast serve",
        description="Serve a model over a WebSocket, and its detokenizer over HTTP, on one port. "
        "Prints one line `ready ws://… http://…` once it takes jobs; Ctrl-C stops it.",
        epilog="examples:\n"
        "  rowcast serve\n"
        "  rowcast serve --model mini\n"
        "  rowcast serve --model mega --device cuda --dtype bfloat16\n"
        "  rowcast serve --host 0.0.0.0 --token-file tokens.txt --tls-cert server.pem\n"
        "  rowcast serve --host 0.0.0.0 --open\n"
        "  rowcast serve --cluster local --replicas 2\n"
        "  rowcast serve --config server.toml\n"
        "then, elsewhere:\n"
        "  rowcast generate ws://127.0.0.1:8765 'a red house at sunset'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="read settings from this file (TOML): options by their names with _ for -, as "
        "queue = 64; an option given here goes before",
    )
    parser.add_argument(
        "--model",
        default="postcard",
        help="postcard (embedded); mini or mega (from ./pretrained as min-dalle lays it out, else "
        "from the hub); or a model folder (default: %(default)s)",
    )
    parser.add_argument(
        "--start-token",
        type=int,
        metavar="ID",
        help="what drawing starts from (default: the model's own, 16384 for mini and mega; "
        "min-dalle 0.4.11 uses 16383)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:N, mps or auto: CUDA where torch sees it, else the CPU (default: "
        "%(default)s). Several, as cuda:0,cuda:1 or cuda:all, get an engine each. Tested on the "
        "CPU; cuda and mps have not been run by the project's tests",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="of weights and caches (default: bfloat16 on cuda, else float32; float16 suits cards "
        "without bfloat16; int8 is the CPU's fastest, and draws slightly other pictures). All but "
        "float32 and int8 on the CPU needs torch",
    )
    parser.add_argument(
        "--cache",
        choices=[str(kind) for kind in CacheKind],
        help="what the CPU caches of each token: keys and values, or states, which take half the "
        "memory and more time, the more so the more pictures are drawn at once, and in int8 most "
        f"(default: {DEFAULT_CACHE}, and states only where those do not fit into memory). States "
        "draw nearly the same pictures, and are another revision",
    )
    default = ServerConfig()
    for setting in SETTINGS:
        _add(parser, setting.metadata, setting.name, getattr(default, setting.name))
    parser.add_argument(
        "--stop-at-eof",
        action="store_true",
        help="stop once standard input ends, as it does with the program that started this one",
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="log connections, pictures with their times, and downloads; never prompts, tokens or "
        "keys",
    )
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="of the log on stderr; json is an object a line (default: %(default)s)",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="say nothing at the start but `ready …` and warnings"
    )
    return parser


def _add(parser: argparse.ArgumentParser, about: Any, name: str, value: object) -> None:
    """The option of a setting: a flag, one that may be given again, or one with a value."""
    option, words = about["option"], about["help"]
    if isinstance(value, bool):
        parser.add_argument(option, dest=name, action="store_true", help=words)
    elif isinstance(value, tuple):
        parser.add_argument(option, dest=name, action="append", default=[], help=words)
    else:
        bare = {} if about["bare"] is None else {"nargs": "?", "const": about["bare"]}
        parser.add_argument(
            option,
            dest=name,
            **bare,
            type=about["kind"] if value is None else type(value),
            default=value,
            help=words
            if value is None or "default: " in words
            else f"{words} (default: {plain(value)})",
        )


def parse(arguments: list[str]) -> tuple[argparse.Namespace, ServerConfig]:
    """The options, and the settings that they ask for.

    Wrong ones end the program (argparse). Raises RowcastError where a file or a device cannot be
    had.
    """
    parser = serve_parser()
    file = parser.parse_args(arguments).config
    if file is not None:
        parser.set_defaults(**dict(_settings_of(file, parser)))
    options = parser.parse_args(arguments)
    return options, _config(parser, options)


def _settings_of(file: Path, parser: argparse.ArgumentParser) -> Iterator[tuple[str, Any]]:
    """The settings of a file by their names in the parser. Raises RowcastError."""
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise RowcastError(f"--config {file}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RowcastError(f"--config {file} is no TOML: {error}") from error
    known = {
        action.option_strings[-1].removeprefix("--").replace("-", "_"): action
        for action in parser._actions
        if action.dest not in NOT_IN_FILES
    }
    for key, value in found.items():
        action = known.get(key)
        if action is None:
            raise RowcastError(
                f"{file}: there is no setting {key!r}; there are {', '.join(sorted(known))}"
            )
        yield action.dest, _value(f"{file}: {key}", action, value)


def _value(where: str, action: argparse.Action, value: Any) -> Any:
    """A value of a file as the option's. Raises RowcastError where it is of another type."""
    kind = action.type if isinstance(action.type, type) else str
    if isinstance(action, argparse._AppendAction):
        fits = isinstance(value, list) and all(isinstance(each, str) for each in value)
        words = 'a list of texts, as ["one", "two"]'
    elif isinstance(action, argparse._StoreTrueAction):
        fits, words = isinstance(value, bool), "true or false"
    elif kind in (int, float):
        fits = isinstance(value, int if kind is int else int | float) and value is not True
        fits, words = fits and value is not False, "a number" if kind is float else "a whole number"
    else:
        fits, words = isinstance(value, str), "a text"
    if not fits:
        raise RowcastError(f"{where} must be {words}, not {value!r}")
    if action.choices is not None and value not in action.choices:
        raise RowcastError(f"{where} must be one of {', '.join(action.choices)}, not {value!r}")
    return value if isinstance(value, list | bool) else kind(value)


def _config(parser: argparse.ArgumentParser, options: argparse.Namespace) -> ServerConfig:
    settings = {setting.name: getattr(options, setting.name) for setting in SETTINGS}
    for setting in SETTINGS:
        value, (least, most) = settings[setting.name], setting.metadata["range"]
        if isinstance(value, list):
            settings[setting.name] = tuple(value)
        elif isinstance(value, int | float) and not least <= value <= most:
            parser.error(f"{setting.metadata['option']} must be {least} to {most}")
    settings["host"] = settings["host"].removeprefix("[").removesuffix("]")
    for fault in _faults(settings):
        parser.error(fault)
    if settings["threads"] > (cores := usable_cores()):
        asked = settings["threads"]
        logger.warning(
            "--threads %d: this process may use %d cores; taking %d", asked, cores, cores
        )
        settings["threads"] = cores
    cache = CacheKind(options.cache or DEFAULT_CACHE)
    if settings["cluster"] is None:
        placements = place_all(options.device, options.dtype, cache)
    else:
        placements = place_replicas(options.device, options.dtype, cache, settings["replica_gpus"])
    if options.draft_window > 1 and not placements[0].by_onnx:
        parser.error("--draft-window is for the CPU, in float32 or int8")
    if options.cache is not None and not placements[0].by_onnx:
        parser.error("--cache is for the CPU, in float32 or int8; torch caches keys and values")
    return ServerConfig(placements=placements, **settings)


def _faults(settings: dict[str, Any]) -> Iterator[str]:
    """What is wrong with these settings, each by its option."""
    if not settings["host"]:  # asyncio would listen on every address
        yield "--host must be an address, as 127.0.0.1; 0.0.0.0 is all of IPv4"
    if settings["port"] == settings["http_port"] != 0:
        yield "--port and --http-port must be two ports; without --http-port both are on --port"
    if settings["unix"] is not None and settings["http_port"] is not None:
        yield "--unix has WebSocket and HTTP in one place; leave --http-port out"
    if settings["cluster"] is None:
        for option in ("replicas", "replica_gpus"):
            if settings[option]:
                yield f"--{option.replace('_', '-')} is of no use without --cluster"
    elif importlib.util.find_spec("ray") is None:
        yield f"--cluster needs Ray: {install_hint('server', 'ray')}"
    if settings["openai_port"] is not None:
        for option in ("unix", "tls_cert"):
            if settings[option] is not None:
                yield (
                    f"--openai goes without --{option.replace('_', '-')}; run `rowcast openai "
                    "URL` beside this server, and have it speak TLS by a proxy before it"
                )
    if settings["tls_key"] is not None and settings["tls_cert"] is None:
        yield "--tls-key is of no use without --tls-cert"
    if settings["public_url"] is not None and (fault := _fault_of(settings["public_url"])):
        yield f"--public-url must be as https://pictures.example.org: {fault}"
    for network in settings["trusted_proxies"]:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            yield f"--trusted-proxy must be an address or a network, as 10.0.0.0/8: {error}"
    for origin in settings["allow_origins"]:
        parts = urlsplit(origin)
        if origin not in ("*", "null") and not (
            parts.scheme and parts.netloc and not parts.path + parts.query
        ):
            yield f"--allow-origin must be as https://app.example.org, null or *, not {origin!r}"


def plain(value: object) -> str:
    """A setting as it is typed."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fault_of(url: str) -> str:
    """What is wrong with a public URL, which is not shown: it may hold a password. Empty if nothing
    is."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is read here, and may be no number
    except ValueError:  # whose text may show a password
        return "it is no address"
    if parts.username is not None or parts.password is not None:
        return "every client would be told its user name and password"
    if parts.scheme not in ("http", "https"):
        return f"its scheme is {parts.scheme!r}, not http or https"
    if not parts.hostname:
        return "it names no host"
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        return "file names are put behind it, so it has no ?, no # and no space"
    return "" if len(url) <= MAX_PUBLIC_URL else f"it is longer than {MAX_PUBLIC_URL} characters"
