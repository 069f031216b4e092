"""Options of `rowcast serve` from the command line and from a file: the same settings by both."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rowcast.errors import RowcastError
from rowcast_server.config import ServerConfig
from rowcast_server.placement import Placement
from rowcast_server.serve_options import SETTINGS, parse, plain, serve_parser

Captured = pytest.CaptureFixture[str]
# Another value than the default for every setting, as it is typed, as it stands in a file, and as
# the server has it.
OTHER: dict[str, tuple[list[str], Any, Any]] = {
    "host": (["::1"], "::1", "::1"),
    "port": (["0"], 0, 0),
    "http_port": (["7001"], 7001, 7001),
    "unix": (["/run/r.sock"], "/run/r.sock", Path("/run/r.sock")),
    "tls_cert": (["chain.pem"], "chain.pem", Path("chain.pem")),
    "tls_key": (["key.pem"], "key.pem", Path("key.pem")),
    "public_url": (["https://x.example/a"], "https://x.example/a", "https://x.example/a"),
    "trusted_proxies": (["10.0.0.0/8", "::1"], ["10.0.0.0/8", "::1"], ("10.0.0.0/8", "::1")),
    "token_file": (["tokens"], "tokens", Path("tokens")),
    "token_secret_file": (["secrets"], "secrets", Path("secrets")),
    "open": ([], True, True),
    "private_files": ([], True, True),
    "no_page": ([], True, True),
    "allow_origins": (["https://a.example", "null"],) * 2 + (("https://a.example", "null"),),
    "allow_hosts": (["a.example", "*"], ["a.example", "*"], ("a.example", "*")),
    "metrics_host": (["::1"], "::1", "::1"),
    "metrics_port": (["9100"], 9100, 9100),
    "openai_port": (["9766"], 9766, 9766),
    "cluster": (["10.0.0.5:6379"], "10.0.0.5:6379", "10.0.0.5:6379"),
    "replicas": (["3"], 3, 3),
    "replica_gpus": (["0.5"], 0.5, 0.5),
}
NUMBERS: dict[str, Any] = {
    setting.name: setting.metadata["range"][0] + 6
    for setting in SETTINGS
    if type(getattr(ServerConfig(), setting.name)) in (int, float) and setting.name not in OTHER
}
# What one setting needs beside it.
NEEDS = {
    "tls_key": ["--tls-cert=chain.pem"],
    "replicas": ["--cluster=local"],
    "replica_gpus": ["--cluster=local", "--device=auto"],
}


def parsed(*words: str) -> ServerConfig:
    return parse(["--device=cpu", *words])[1]


def from_file(tmp_path: Path, text: str, *words: str) -> ServerConfig:
    path = tmp_path / "server.toml"
    path.write_text(text, "utf-8")
    return parsed(f"--config={path}", *words)


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_every_setting_has_its_example_here() -> None:
    assert {setting.name for setting in SETTINGS} == OTHER.keys() | NUMBERS.keys()


def test_an_option_with_a_port_of_its_own_needs_none() -> None:
    assert parsed("--openai").openai_port == 8766
    assert parsed("--openai", "--port=1").openai_port == 8766


def test_without_options_settings_are_the_defaults(tmp_path: Path) -> None:
    assert parsed() == ServerConfig()
    assert from_file(tmp_path, "") == ServerConfig()
    assert from_file(tmp_path, "# nothing\n") == ServerConfig()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_setting_is_the_same_typed_and_in_a_file(
    setting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowcast_server.serve_options.usable_cores", lambda: 64)
    name, option = setting.name, setting.metadata["option"]
    number = NUMBERS.get(name)
    typed, written, expected = OTHER.get(name, ([str(number)], number, number))
    words = [f"{option}={word}" for word in typed] or [option]
    needs = NEEDS.get(name, [])
    by_words = parsed(*needs, *words)
    assert getattr(by_words, name) == expected != getattr(ServerConfig(), name)
    key = option.removeprefix("--").replace("-", "_")
    by_file = from_file(tmp_path, f"{key} = {toml(written)}\n", *needs)
    assert by_file == by_words


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ('device = "cpu,cpu"', lambda options, config: len(config.placements) == 2),
        ('dtype = "int8"', lambda options, config: config.placements[0].dtype == "int8"),
        ('cache = "states"', lambda options, config: options.cache == "states"),
        ('model = "./folder"', lambda options, config: options.model == "./folder"),
        ("start_token = 16383", lambda options, config: options.start_token == 16_383),
        ("verbose = true", lambda options, config: options.verbose),
        ("quiet = true", lambda options, config: options.quiet),
        ('log_format = "json"', lambda options, config: options.log_format == "json"),
    ],
)
def test_what_is_no_setting_of_the_server_may_stand_there_too(
    tmp_path: Path, text: str, check: Callable[..., bool]
) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text)
    words = [] if text.startswith("device") else ["--device=cpu"]
    assert check(*parse([f"--config={path}", *words]))


def test_what_is_typed_goes_before_the_file(tmp_path: Path) -> None:
    config = from_file(tmp_path, "slots = 3\nqueue = 7\nkeep = 1.5\n", "--slots=5", "--keep=9")
    assert (config.slots, config.queue_limit, config.keep) == (5, 7, 9.0)


def test_a_file_of_ordinary_settings_is_read(tmp_path: Path) -> None:
    config = from_file(
        tmp_path,
        '# a wall of pictures\nhost = "::1"\nport = 0\nslots = 2 # each\nkeep = 60\n'
        'trusted_proxy = ["10.0.0.1"]\ndtype = "int8"\n',
    )
    assert config == ServerConfig(
        host="::1",
        port=0,
        slots=2,
        keep=60.0,
        trusted_proxies=("10.0.0.1",),
        placements=(Placement("cpu", "int8"),),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slotz = 3", "there is no setting 'slotz'; there are "),
        ("Slots = 3", "there is no setting 'Slots'"),
        ('"--slots" = 3', "there is no setting '--slots'"),
        ("queue_limit = 3", "there is no setting 'queue_limit'"),
        ("[server]\nslots = 3", "there is no setting 'server'"),
        ('config = "other.toml"', "there is no setting 'config'"),
        ("help = true", "there is no setting 'help'"),
        ("stop_at_eof = true", "there is no setting 'stop_at_eof'"),
        ('tokens = ["s"]', "there is no setting 'tokens'"),
        ('slots = "3"', "slots must be a whole number, not '3'"),
        ("slots = 3.0", "slots must be a whole number, not 3.0"),
        ("slots = true", "slots must be a whole number, not True"),
        ("http_port = true", "http_port must be a whole number, not True"),
        ('keep = "1"', "keep must be a number, not '1'"),
        ("keep = false", "keep must be a number, not False"),
        ("host = 127", "host must be a text, not 127"),
        ('host = ["a"]', "host must be a text, not ['a']"),
        ("unix = 7", "unix must be a text, not 7"),
        ('open = "yes"', "open must be true or false, not 'yes'"),
        ("open = 1", "open must be true or false, not 1"),
        ('allow_host = "a"', "allow_host must be a list of texts"),
        ("allow_host = [1]", "allow_host must be a list of texts"),
        ('dtype = "float8"', "dtype must be one of "),
        ('log_format = "xml"', "log_format must be one of text, json, not 'xml'"),
        ("slots = 1979-05-27", "slots must be a whole number"),
        ("slots = ", "is no TOML"),
        ("slots = 3\nslots = 4", "is no TOML"),
        ("slots", "is no TOML"),
    ],
)
def test_what_cannot_be_is_told_with_the_file_and_the_key(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(RowcastError) as told:
        from_file(tmp_path, text)
    assert words in str(told.value)
    assert str(tmp_path / "server.toml") in str(told.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slots = 0", "--slots must be 1 to 65535"),
        ("port = 65536", "--port must be 0 to 65535"),
        ("keep = nan", "--keep must be "),
        ("keep = inf", "--keep must be "),
        ("draft_window = 99", "--draft-window must be 1 to 16"),
        ('host = ""', "--host must be an address"),
        ('trusted_proxy = ["10.0.0.1/8"]', "--trusted-proxy must be an address or a network"),
        ('trusted_proxy = ["proxy.local"]', "--trusted-proxy must be an address or a network"),
        ('allow_origin = ["app.example.org"]', "--allow-origin must be as https://app.example.org"),
        ('allow_origin = ["https://a.example/"]', "--allow-origin must be as"),
        ('tls_key = "key.pem"', "--tls-key is of no use without --tls-cert"),
        ('unix = "a"\nhttp_port = 1', "--unix has WebSocket and HTTP in one place"),
        ('openai = 0\ntls_cert = "a"', "--openai goes without --tls-cert; run `rowcast openai "),
        ('openai = 0\nunix = "a"', "--openai goes without --unix; run `rowcast openai "),
        ("replicas = 2", "--replicas is of no use without --cluster"),
        ("replica_gpus = 1.0", "--replica-gpus is of no use without --cluster"),
        ("port = 7000\nhttp_port = 7000", "--port and --http-port must be two ports"),
        ('public_url = "ws://foo"', "--public-url must be as https://pictures.example.org"),
    ],
)
def test_values_of_a_file_are_checked_as_typed_ones(
    tmp_path: Path, text: str, words: str, capsys: Captured
) -> None:
    with pytest.raises(SystemExit) as ended:
        from_file(tmp_path, text)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RowcastError, match="--config "):
        parsed(f"--config={tmp_path / name}")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RowcastError, match=r"binary\.toml is no TOML"):
        parsed(f"--config={tmp_path / 'binary.toml'}")


def test_a_public_urls_password_is_not_shown(tmp_path: Path, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        from_file(tmp_path, 'public_url = "https://a:s3cret@foo"')
    assert "s3cret" not in capsys.readouterr().err


def test_an_address_in_brackets_is_one_without() -> None:
    assert parsed("--host=[::1]").host == "::1"


def test_no_option_may_be_cut_short(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        parsed("--slot=3")
    assert "--slot" in capsys.readouterr().err


def test_every_default_is_told(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        serve_parser().parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for setting in SETTINGS:
        value = getattr(ServerConfig(), setting.name)
        if type(value) in (int, float, str):
            assert f"(default: {plain(value)}" in text, setting.name


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example", False),
    ],
)
def test_a_host_is_local_or_it_is_not(host: str, is_local: bool) -> None:
    assert ServerConfig(host=host).is_local is is_local
    assert ServerConfig(host=host, unix=Path("/run/r.sock")).is_local


def test_a_cluster_without_its_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        parsed("--cluster=local")
    assert re.search(r"--cluster needs Ray: .*pip install '.*\[server,ray\]'", told(capsys))


def told(capsys: Captured) -> str:
    """What was said on stderr, in one line."""
    return " ".join(capsys.readouterr().err.split())
