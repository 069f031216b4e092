"""The HTTP client, the only one: it knows nothing of the environment but by network.py.

It follows no redirects, and gives a token to nobody but the server whose it is.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from ..errors import ConnectionFailed, RowcastError
from ..requests import Token, token_text
from ..transport import untrusted, without_user
from .network import Proxy, certificates, proxy_of, redacted

if TYPE_CHECKING:
    import httpx  # elsewhere where it is used: in a thread, and not while the package is imported

TIMEOUT_SECONDS = 30.0  # without a byte
MOST_BYTES: Final = 1_048_576
MOST_TOLD: Final = 200  # bytes of why not


def open_client(address: str, server_url: str, proxy: Proxy) -> tuple[httpx.Client, str]:
    """A client for this address, and the proxy by which it goes, in words.

    ``proxy`` is as of `connect`, for the server at ``server_url``. Raises ConnectionFailed.
    """
    import httpx

    try:
        way = proxy_of(address, server_url, proxy)
        parts = urlsplit(address)
        # Nothing is verified where there is no TLS: reading the authorities takes time.
        is_secure = parts.scheme == "https"
        context = certificates() if is_secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client = httpx.Client(
            # Apart from the address, which httpx logs.
            auth=(unquote(parts.username), unquote(parts.password or ""))
            if parts.username
            else None,
            proxy=way,
            verify=context,
            trust_env=False,
            timeout=TIMEOUT_SECONDS,
        )
    except (RowcastError, ImportError, ValueError, httpx.InvalidURL) as error:
        raise ConnectionFailed(str(error)) from error
    return client, f" (by the proxy {redacted(way)})" if way else ""


def authorization(address: str, server_url: str, token: Token) -> dict[str, str]:
    """The token, for the server's own host (R-120); an address with a user has its own."""
    ours, theirs = urlsplit(server_url), urlsplit(address)
    if theirs.username or theirs.hostname != ours.hostname:
        return {}
    text = token_text(token)
    return {} if text is None else {"Authorization": f"Bearer {text}"}


def words_of(error: httpx.HTTPError) -> str:
    """What went wrong, for people."""
    words = str(error) or type(error).__name__
    return untrusted(error) if "CERTIFICATE_VERIFY_FAILED" in words else words


def read(address: str, server_url: str, proxy: Proxy, token: Token) -> bytes:
    """The short answer at ``address``, of at most 1 MiB.

    Raises ConnectionFailed, naming the address; its ``code`` is None.
    """
    import httpx

    shown = redacted(address)
    body = bytearray()
    headers = {"Accept-Encoding": "identity", **authorization(address, server_url, token)}
    try:
        client, by = open_client(address, server_url, proxy)
    except ConnectionFailed as error:
        raise ConnectionFailed(
            f"{shown} cannot be asked: {error}; try another way, by --proxy"
        ) from error
    try:
        with client, client.stream("GET", without_user(address), headers=headers) as answer:
            for chunk in answer.iter_raw():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise ConnectionFailed(
                        f"{shown} answered with more than 1 MiB; is it Rowcast's?"
                    )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        words = words_of(error) if isinstance(error, httpx.HTTPError) else str(error)
        raise ConnectionFailed(
            f"{shown} cannot be asked: {words}{by}; is the server running?"
        ) from error
    if answer.status_code != 200:
        why = bytes(body[:MOST_TOLD]).decode(errors="replace").strip()
        raise ConnectionFailed(f"{shown} answered with status {answer.status_code}: {why}")
    return bytes(body)
