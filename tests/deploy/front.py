"""nginx and caddy with the files of deploy/, on loopback: ports, paths and times put in."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
UNPACKED: Final = ROOT / ".venv/proxies/usr"  # by the Makefile
NAME: Final = "pictures.example.org"  # as deploy/ has it
PATIENCE: Final = 30.0  # seconds


@dataclass(frozen=True)
class Certificate:
    """Files (PEM): of an authority, and of what it vouches for: localhost and NAME."""

    authority: Path
    chain: Path
    key: Path


@dataclass(frozen=True)
class Front:
    """A proxy that listens at ``port`` of 127.0.0.1."""

    port: int
    reloading: Sequence[str]
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"wss://localhost:{self.port}/pictures/"

    @property
    def https(self) -> str:
        """Where its pages are, without a slash at the end."""
        return f"https://localhost:{self.port}"

    def reload(self) -> None:
        done = subprocess.run(
            self.reloading, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr


def program(name: str) -> str:
    """The path of a program. Fails the test where it is not there: it is meant to run."""
    places = [os.environ["PATH"], "/usr/sbin", str(UNPACKED / "sbin"), str(UNPACKED / "bin")]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.fail(f"{name} is not there: `make test` brings it on Debian; else install it")
    return found


def replaced(text: str, changes: Mapping[str, object]) -> str:
    """The text with all of these put in, each of which must be there once."""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, str(new))
    return text


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_certificate(folder: Path) -> Certificate:
    made = Certificate(folder / "authority.pem", folder / "chain.pem", folder / "key.pem")
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    new += ["-nodes", "-days", "2"]
    authority = folder / "authority.key"
    names = f"subjectAltName=DNS:localhost,DNS:{NAME}"
    options: tuple[list[str | Path], ...] = (
        ["-subj", "/CN=authority", "-keyout", authority, "-out", made.authority],
        [
            *("-CA", made.authority, "-CAkey", authority, "-subj", "/CN=localhost"),
            *("-addext", names, "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", made.key, "-out", made.chain),
        ],
    )
    for more in options:
        subprocess.run([*new, *more], check=True, capture_output=True, timeout=PATIENCE)
    return made


def nginx_files(folder: Path, port: int, upstream: str, certificate: Certificate) -> Path:
    """The shipped nginx.conf, with what differs here; ``upstream`` as it has it."""
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    if upstream.startswith("unix:"):  # the other line of the two
        text = replaced(
            text, {"        server 127.0.0.1:8765;\n": "", "# server unix": "server unix"}
        )
        text = replaced(text, {"unix:/run/rowcast/rowcast.sock": upstream})
    else:
        text = replaced(text, {"127.0.0.1:8765": upstream})
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"    {kind}_temp_path {folder / kind};\n" for kind in kinds)
    text = replaced(
        text,
        {
            "user www-data;": f"user {getpass.getuser()};",
            "worker_processes auto;": "worker_processes 1;",
            "worker_shutdown_timeout 60s;": "worker_shutdown_timeout 100ms;",
            "/run/nginx.pid": folder / "nginx.pid",
            "http {\n": f"http {{\n    access_log off;\n{temporary}",
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "        listen [::]:443 ssl;\n": "",
            "/etc/ssl/pictures/fullchain.pem": certificate.chain,
            "/etc/ssl/pictures/privkey.pem": certificate.key,
            "/var/www/pictures": folder / "pages",
        },
    )
    (folder / "mime.types").write_text("types { text/html html; }\n", "utf-8")
    path = folder / "nginx.conf"
    path.write_text(text, "utf-8")
    return path


def caddy_files(folder: Path, port: int, upstream: str, certificate: Certificate) -> Path:
    """The shipped Caddyfile, with what differs here; ``upstream`` as it has it."""
    text = (DEPLOY / "Caddyfile").read_text("utf-8")
    if upstream.startswith("unix/"):
        assert "# Or: reverse_proxy unix//run/rowcast/rowcast.sock" in text
    text = replaced(
        text,
        {
            "reverse_proxy 127.0.0.1:8765": f"reverse_proxy {upstream}",
            "{\n\tservers {": f"{{\n\tadmin unix/{folder / 'admin'}\n"
            "\tauto_https disable_redirects\n\tskip_install_trust\n\tservers {",
            f"\n{NAME} {{": f"\nhttps://localhost:{port}, https://{NAME}:{port} {{\n"
            "\tbind 127.0.0.1",
            "# tls /etc/ssl/pictures/fullchain.pem /etc/ssl/pictures/privkey.pem": f"tls "
            f"{certificate.chain} {certificate.key}",
            "/var/www/pictures": folder / "pages",
        },
    )
    path = folder / "Caddyfile"
    path.write_text(text, "utf-8")
    return path


@contextmanager
def front(kind: str, folder: Path, address: str, certificate: Certificate) -> Iterator[Front]:
    """nginx or caddy before a server at ``address``, which is ``host:port`` or a socket's path."""
    (folder / "pages").mkdir(parents=True)
    (folder / "pages/index.html").write_text("<p>pictures</p>", "utf-8")
    port = free_port()
    environment = os.environ | {
        name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    }
    is_path = address.startswith("/")
    if kind == "nginx":
        upstream = f"unix:{address}" if is_path else address
        config = nginx_files(folder, port, upstream, certificate)
        words = [program("nginx"), "-c", str(config), "-p", str(folder), "-e", f"{folder}/errors"]
        running, reloading = [*words, "-g", "daemon off;"], [*words, "-s", "reload"]
    else:
        upstream = f"unix/{address}" if is_path else address
        config = caddy_files(folder, port, upstream, certificate)
        common = ["--config", str(config), "--adapter", "caddyfile"]
        running = [program("caddy"), "run", *common]
        reloading = [running[0], "reload", *common, "--force", "--address", f"unix/{folder}/admin"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            running, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until_it_listens(port, process, folder)
        yield Front(port, reloading, environment)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # workers that nobody waits for


def until_it_listens(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    said = [path.read_text("utf-8") for path in folder.glob("[le]*") if path.is_file()]
    pytest.fail(f"it does not listen: {said}")
