"""The way to a server: proxies, certificates, and addresses as they may be shown.

The WebSocket and the files go the same way. By default that is the direct one, whatever the
environment says; what is on this machine is always fetched directly, unless a proxy is named.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import ssl
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass  # noqa: TID251 (reads settings, fetches nothing)

from ..errors import ConnectionFailed, InvalidRequest

# None: directly. True: as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say. Else its address.
Proxy: TypeAlias = str | Literal[True] | None

PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
SOCKS_PACKAGES: Final = ("python_socks", "socksio")  # of the WebSocket's library, of HTTP's


def redacted(url: str) -> str:
    """A URL to show: without user and password, and without its query, which may hold a token."""
    without_user = re.sub(r"^((?:[\w+.-]+:)?//)?.*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"([?#]).*", r"\1***", without_user, flags=re.DOTALL)


def proxy_of(url: str, server_url: str, proxy: Proxy) -> str | None:
    """The proxy's address by which ``url`` is reached, or None for the direct way.

    What is on the server's own host goes as the WebSocket to ``server_url`` does. Raises
    ConnectionFailed, naming the variable, where the environment names a proxy that cannot be one.
    """
    if proxy is not True:
        return proxy
    host = urlsplit(url).hostname or ""
    asked = server_url if host == urlsplit(server_url).hostname else url
    parts = urlsplit(asked)
    if is_loopback(host) or proxy_bypass(host if parts.port is None else f"{host}:{parts.port}"):
        return None
    proxies = getproxies()
    for kind in ("https" if parts.scheme in ("wss", "https") else "http", "all"):
        if address := proxies.get(kind):
            named = f"{kind}_proxy"
            variables = (name for name in os.environ if name.lower() == named)
            told = next((name for name in variables if os.environ[name] == address), named)
            address = address if "://" in address else f"http://{address}"
            if fault := _fault(address):
                raise ConnectionFailed(f"the proxy that {told} names cannot be used: {fault}")
            return address
    return None


def check_proxy(proxy: Proxy) -> None:
    """Raise InvalidRequest for a ``proxy`` that cannot be one."""
    if isinstance(proxy, str):
        if fault := _fault(proxy):
            raise InvalidRequest(f"the proxy cannot be used: {fault}")
    elif proxy is not None and proxy is not True:
        kind = type(proxy).__name__
        raise InvalidRequest(f"proxy must be an address, True or None, not of type {kind}")


def _fault(address: str) -> str:
    """The reason why a proxy's address cannot be used; empty for none."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return f"{redacted(address)!r} is no address"
    if parts.scheme not in PROXY_SCHEMES or not parts.hostname:
        return (
            f"{redacted(address)!r} is none of {', '.join(PROXY_SCHEMES)}, such as http://host:3128"
        )
    missing = [name for name in SOCKS_PACKAGES if importlib.util.find_spec(name) is None]
    if parts.scheme.startswith("socks") and missing:
        return f"{redacted(address)} needs pip install 'python-socks[asyncio]' socksio"
    return ""


def is_loopback(host: str) -> bool:
    """True if a host name or address is this machine's own (RFC 6761 section 6.3, RFC 5735)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def certificates() -> ssl.SSLContext:
    """The TLS context of both the WebSocket and the files: the system's certificate authorities.

    SSL_CERT_FILE and SSL_CERT_DIR name others. Raises ConnectionFailed, naming the variable, where
    one of them, or SSLKEYLOGFILE, names what cannot be used.
    """
    try:
        context = ssl.create_default_context()
    except OSError as error:
        raise ConnectionFailed(
            f"SSLKEYLOGFILE={os.environ.get('SSLKEYLOGFILE')!r} cannot be written ({error}); name "
            "another file, or unset it"
        ) from error
    folders = os.environ.get("SSL_CERT_DIR")
    if folders and not any(map(os.path.isdir, folders.split(os.pathsep))):
        raise ConnectionFailed(f"SSL_CERT_DIR={folders!r} names no folder; name one, or unset it")
    if file := os.environ.get("SSL_CERT_FILE"):
        try:
            context.load_verify_locations(file)
        except OSError as error:  # of ssl as well
            raise ConnectionFailed(
                f"SSL_CERT_FILE={file!r} holds no certificates that can be read ({error}); name a "
                "file of them (PEM), or unset it"
            ) from error
    return context
