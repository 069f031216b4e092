"""The other files of deploy/: images, units, limits that fit each other."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser
from rowcast_server.config import ServerConfig
from rowcast_server.serve_options import parse
from rowcast_server.server import RowcastServer

from tests.deploy.front import DEPLOY, PATIENCE, ROOT, free_port, replaced

KNOWN = {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "ENTRYPOINT", "CMD"}
KNOWN |= {"EXPOSE", "HEALTHCHECK", "STOPSIGNAL"}
ONES_OWN = ["/opt/rowcast", "/opt/rowcast"]  # what is copied from one stage to the next


@pytest.fixture(scope="module")
def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of the Dockerfile by stage, those of the stage it builds upon before."""
    found: dict[str, list[tuple[str, str]]] = {"${PYTHON}": []}
    with (DEPLOY / "Dockerfile").open("rb") as file:
        steps = DockerfileParser(fileobj=file).structure
    name = ""
    for step in steps:
        if step["instruction"] == "COMMENT":
            continue
        assert step["instruction"] in KNOWN
        if step["instruction"] == "FROM":
            base, word, name = step["value"].split()
            assert word == "AS"
            found[name] = [*found[base]]
        elif name:
            found[name].append((step["instruction"], step["value"]))
        else:
            assert re.fullmatch(r"PYTHON=python:3\.\d+\.\d+-slim-\w+", step["value"])  # pinned
    return found


def values(steps: list[tuple[str, str]], instruction: str) -> list[str]:
    return [value for name, value in steps if name == instruction]


def compose() -> dict[str, Any]:
    whole = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    service: dict[str, Any] = whole["services"]["server"]
    return service


def seconds(text: str) -> int:
    """A time as nginx, Caddy, systemd and Docker write it."""
    return int(text.removesuffix("s"))


class TestImages:
    def test_what_is_copied_is_there_and_is_all_that_docker_is_given(
        self, stages: dict[str, list[tuple[str, str]]]
    ) -> None:
        copied = [value.split()[:-1] for value in values(stages["installed-server"], "COPY")]
        names = {name for each in copied for name in each}
        assert all((ROOT / name).exists() for name in names)
        ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        assert ignored[1] == "*"
        assert {line[1:] for line in ignored if line.startswith("!")} == names
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
        assert {Path(package).parts[0] for package in wheel["packages"]} <= names

    def test_what_is_installed_is_what_the_constraints_name_without_torch(
        self, stages: dict[str, list[tuple[str, str]]]
    ) -> None:
        runs = values(stages["installed-server"], "RUN")
        assert values(stages["installed-client"], "RUN") == runs[:-1]
        for each in runs:
            words = shlex.split(each.partition("pip install ")[2])
            assert words[:2] == ["--constraint", "constraints.txt"]
        assert words == ["--constraint", "constraints.txt", ".[server]"]
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        needed = [*project["dependencies"], *project["optional-dependencies"]["server"]]
        pinned = {
            re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()
            for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        }
        for package in needed:
            name = re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", package)[0]).lower()  # type: ignore[index]
            assert name in pinned
            assert name != "torch"

    @pytest.mark.parametrize("name", ["client", "server"])
    def test_it_runs_without_rights_and_gets_signals_itself(
        self, stages: dict[str, list[tuple[str, str]]], name: str
    ) -> None:
        steps = stages[name]
        assert values(steps, "USER") == ["10001:10001"]
        after = steps[steps.index(("USER", "10001:10001")) :]
        assert not values(after, "RUN"), "what is in the image belongs to root"
        assert values(steps, "COPY") == [" ".join([f"--from=installed-{name}", *ONES_OWN])]
        (entry,) = values(steps, "ENTRYPOINT")
        assert json.loads(entry)[0] == "rowcast", "no shell, which would keep signals to itself"

    def test_a_server_admits_nobody_before_somebody_says_whom(
        self, stages: dict[str, list[tuple[str, str]]]
    ) -> None:
        (entry,), (command,) = (values(stages["server"], each) for each in ("ENTRYPOINT", "CMD"))
        assert json.loads(entry) == ["rowcast", "serve"]
        _, config = parse(json.loads(command))
        assert not config.is_local
        assert (config.open, config.token_file, config.tokens) == (False, None, frozenset())
        assert values(stages["server"], "EXPOSE") == [str(config.port)]

    def test_its_health_is_that_it_takes_jobs(
        self, stages: dict[str, list[tuple[str, str]]], tiny_server: RowcastServer
    ) -> None:
        (check,) = values(stages["server"], "HEALTHCHECK")
        command = json.loads(check.partition("CMD ")[2])
        assert command[:2] == ["python", "-c"]
        code = replaced(command[2], {"http://127.0.0.1:8765": "{url}"})
        for url, healthy in (
            (tiny_server.http_url, True),
            (f"http://127.0.0.1:{free_port()}", False),
        ):
            words = [sys.executable, "-c", code.replace("{url}", url)]
            done = subprocess.run(words, capture_output=True, timeout=PATIENCE)
            assert (done.returncode == 0) == healthy

    def test_compose_starts_a_target_with_options_that_there_are(
        self, stages: dict[str, list[tuple[str, str]]]
    ) -> None:
        service = compose()
        build = service["build"]
        assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
        assert build["target"] in stages
        options, config = parse(service["command"])
        assert options.log_format == "json"
        assert str(config.token_file) == "/run/secrets/tokens"
        assert service["ports"] == [f"127.0.0.1:{config.port}:{config.port}"]
        assert service["read_only"]
        (cache,) = values(stages["server"], "VOLUME")
        assert service["volumes"] == [f"cache:{cache}"]
        assert f"ROWCAST_CACHE={cache}" in " ".join(values(stages["server"], "ENV"))
        assert seconds(service["stop_grace_period"]) > config.drain


class TestTimes:
    """Who waits for whom, over all the files."""

    def test_units_wait_for_longer_than_pictures_have(self) -> None:
        _, config = parse(["--config", str(DEPLOY / "server.toml")])
        unit = (DEPLOY / "rowcast.service").read_text("utf-8")
        (wait,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
        assert int(wait) > config.drain

    def test_proxies_wait_for_longer_than_pings_take(self) -> None:
        _, config = parse(["--config", str(DEPLOY / "server.toml")])
        waits = re.findall(
            r"(?:proxy_read_timeout|proxy_send_timeout|response_header_timeout) (\w+)",
            (DEPLOY / "nginx.conf").read_text("utf-8") + (DEPLOY / "Caddyfile").read_text("utf-8"),
        )
        assert len(waits) == 3
        assert min(map(seconds, waits)) > 2 * max(config.ping_interval, ServerConfig.ping_interval)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    for name in ("rowcast.service", "rowcast.socket"):
        text = (DEPLOY / name).read_text("utf-8")
        if name == "rowcast.service":  # systemd asks whether it is there
            text = replaced(text, {"=/opt/rowcast/bin/rowcast": f"={sys.executable} -m rowcast"})
        (tmp_path / name).write_text(text, "utf-8")
    units = [str(tmp_path / name) for name in ("rowcast.service", "rowcast.socket")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    exposed = subprocess.run(  # 0 to 100; 20 is what it calls OK
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", units[0]],
        capture_output=True,
        timeout=PATIENCE,
    )
    assert exposed.returncode == 0, exposed.stdout
