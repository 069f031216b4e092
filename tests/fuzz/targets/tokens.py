"""Tokens: nobody comes in but by a shared token, or by claims that a secret of ours has signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

from rowcast_server.access import LEEWAY_SECONDS, MAX_LIFETIME_SECONDS, Access, sign_token
from rowcast_server.errors import BadToken, ExpiredToken

from tests.fuzz.mutation import worded
from tests.fuzz.target import Target

NOW: Final = 1_800_000_000.0
SECRET: Final = b"one-secret-of-thirty-two-bytes-at-least"
OTHER: Final = b"one-that-this-server-does-not-know-of-at-all"
SHARED: Final = "open-sesame"
HEADER: Final = b'{"alg":"HS256","typ":"JWT"}'
WORDS: Final = (
    b'"sub":', b'"exp":', b'"aud":', b'"nbf":', b'"scope":', b'"rowcast"', b'["rowcast"]',
    b'["x","rowcast"]', b'"draw"', b'"watch"', b'"draw watch"', b'"watch "', b'""', b"null",
    b"true", b"1800000000", b"1800000006", b"1799999999", b"1e999", b"-1", b"1800000100.5",
    b"1800000100000", b"NaN", b"{", b"}", b",", b"[", b"]", b'"', b"\\u0000", b"\\ud800", b"\xff",
    b"\xc3\xa9", b'"alg":"none"', b'"alg":"HS512"', b'"crit":["exp"]', b'"b64":false', b".", b"..",
    b"=", b"token-0123456789ab", SHARED.encode(), b"\n",
)  # fmt: skip


@cache
def access() -> Access:
    with tempfile.TemporaryDirectory() as folder:
        secrets = Path(folder) / "secrets"
        secrets.write_bytes(SECRET)
        return Access([SHARED], secrets, lambda: NOW)


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(header: bytes, payload: bytes, secret: bytes, hash_name: str = "sha256") -> str:
    text = base64url(header) + b"." + base64url(payload)
    return (text + b"." + base64url(hmac.digest(secret, text, hash_name))).decode()


def token_of(data: bytes) -> tuple[str, bytes | None]:
    """The token that an input stands for, and the claims if a secret of ours has signed them.

    The first byte chooses: the text itself; claims that are signed, by ours or by another; a header
    and claims, apart by a line feed.
    """
    kind, rest = data[0] % 6 if data else 0, data[1:]
    match kind:
        case 0:
            return rest.decode("utf-8", "replace"), None
        case 1 | 2:
            return signed(HEADER, rest, SECRET), rest
        case 3:
            return signed(HEADER, rest, OTHER), None
        case 4:
            return signed(HEADER, rest, SECRET, "sha512"), None
    header, _, payload = rest.partition(b"\n")
    return signed(header, payload, SECRET), payload


def read(data: bytes) -> str:
    token, payload = token_of(data)
    try:
        grant = access().grant(token)
    except (BadToken, ExpiredToken) as error:
        if SECRET.decode() in error.reason:
            raise AssertionError("a secret is told") from error
        return f"{type(error).__name__}: {error.reason}"
    if token == SHARED:
        assert grant.subject == f"token-{hashlib.sha256(token.encode()).hexdigest()[:12]}"
        return "shared"
    if payload is None:  # the text itself may be one that was signed here
        header, claims, _ = token.split(".")
        payload = base64.urlsafe_b64decode(claims + "==")
        assert token == signed(base64.urlsafe_b64decode(header + "=="), payload, SECRET), token
    said: dict[str, Any] = json.loads(payload)
    assert grant.subject == said["sub"]
    assert said["aud"] == "rowcast" or "rowcast" in list(said["aud"])
    assert NOW < said["exp"] <= NOW + MAX_LIFETIME_SECONDS + LEEWAY_SECONDS
    assert said.get("nbf", 0) <= NOW + LEEWAY_SECONDS
    assert grant.expires is not None
    assert math.isclose(grant.expires, said["exp"])
    rights = said.get("scope", "draw watch").split(" ")
    assert (grant.may_draw, grant.may_watch) == ("draw" in rights, "watch" in rights)
    return f"signed {grant.may_draw} {grant.may_watch}"


def seeds() -> list[bytes]:
    claims = (
        {"sub": "anna", "exp": NOW + 600, "aud": "rowcast"},
        {"sub": "b", "exp": int(NOW) + 600, "aud": ["x", "rowcast"], "nbf": NOW, "scope": "watch"},
        {"sub": "c", "exp": NOW - 1, "aud": "rowcast", "scope": "draw watch more"},
        {"sub": "d", "exp": NOW + 10**9, "aud": "other"},
    )
    payloads = [json.dumps(each).encode() for each in claims]
    tokens = [b"\x00" + SHARED.encode(), b"\x00" + sign_token(SECRET, "e", NOW + 60).encode()]
    by_kind = [bytes([kind]) + payload for kind in (1, 2) for payload in payloads]
    by_kind += [bytes([kind]) + payloads[0] for kind in (3, 4)]
    return [*tokens, *by_kind, *(b"\x05" + HEADER + b"\n" + payload for payload in payloads)]


TARGETS: Final = {"tokens": Target(read, seeds, worded(*WORDS), max_bytes=1_200)}
