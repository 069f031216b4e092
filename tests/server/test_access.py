"""Who may come in: tokens of both kinds, and that no near miss, fault or forgery is admitted."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rowcast.messages import CloseCode
from rowcast_server import access as module
from rowcast_server.access import Access, Grant, configured_access, sign_token
from rowcast_server.errors import BadToken, ExpiredToken

from tools.guess_tokens import admitted_of

NOW = 1_800_000_000.0
SECRET, OLDER = "s3cret-" + "a" * 30, "s3cret-" + "b" * 30
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAs3cret\n-----END PUBLIC KEY-----\n"
CLAIMS = {"sub": "alice", "exp": NOW + 60, "aud": "rowcast"}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    path.write_text(f"{SECRET}\n{OLDER}\n")
    return path


@pytest.fixture
def signed_access(secret_file: Path, clock: Clock) -> Access:
    return Access(secrets=secret_file, clock=clock)


def part(data: object) -> str:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return urlsafe_b64encode(text).decode().rstrip("=")


def forged(
    claims: object, header: object = None, key: str = SECRET, algorithm: str = "sha256"
) -> str:
    """A token made without the code under test: whatever header, whatever claims."""
    signed = f"{part(header or {'alg': 'HS256'})}.{part(claims)}"
    return f"{signed}.{part(hmac.digest(key.encode(), signed.encode(), algorithm))}"


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in CLAIMS.items() if key != name}


# Shared tokens


@pytest.mark.parametrize("token", [None, "", "anything", "ü" * 1_024, "x" * 5_000])
def test_without_tokens_everybody_is_admitted(token: str | None) -> None:
    assert not Access().asks
    assert Access().grant(token) == Grant(None, may_draw=True, may_watch=True, expires=None)


@pytest.mark.parametrize("token", ["first", "zweiter-Schlüssel", "3"])
def test_every_known_token_is_admitted_and_named_by_its_hash(token: str) -> None:
    access = Access({"first", "zweiter-Schlüssel", "3"})
    assert access.asks
    name = hashlib.sha256(token.encode()).hexdigest()[:12]
    assert access.grant(token) == Grant(f"token-{name}")


@pytest.mark.parametrize(
    "token",
    [None, "", " ", "Secret", "secre", "secrets", "secret ", "secret\x00", "ſecret", "x", "\ud800"],
)
def test_nothing_else_is(token: str | None) -> None:
    with pytest.raises(BadToken) as caught:
        Access({"secret", "other"}).grant(token)
    assert caught.value.code == CloseCode.BAD_TOKEN


def test_every_token_is_compared_whichever_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time must not tell which token is near."""
    compared: list[bytes] = []

    def compare(given: bytes, known: bytes) -> bool:
        compared.append(known)
        return given == known

    access = Access({"a", "b", "c"})
    monkeypatch.setattr("rowcast_server.access.hmac.compare_digest", compare)
    for token in ("a", "c"):
        compared.clear()
        access.grant(token)
        assert sorted(compared) == [b"a", b"b", b"c"]


def test_tokens_come_from_the_file_else_from_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROWCAST_TOKENS", raising=False)
    assert not configured_access(None, None).asks
    monkeypatch.setenv("ROWCAST_TOKENS", " first  second ")
    access = configured_access(None, None)
    assert access.grant("first") != access.grant("second")
    (tmp_path / "tokens").write_bytes(b"\xef\xbb\xbfthird\r\n")  # as Windows' editor writes it
    access = configured_access(tmp_path / "tokens", None)
    assert access.grant("third")
    with pytest.raises(BadToken):
        access.grant("first")


# Signed tokens


def test_a_signed_token_says_who_until_when_and_what_for(signed_access: Access) -> None:
    token = sign_token(SECRET.encode(), "alice", NOW + 60)
    assert signed_access.grant(token) == Grant("alice", expires=NOW + 60)
    token = sign_token(SECRET.encode(), "wall", NOW + 60, ["watch"])
    assert signed_access.grant(token) == Grant("wall", may_draw=False, expires=NOW + 60)


@pytest.mark.parametrize(
    ("scope", "draw", "watch"),
    [
        ("draw watch", True, True),
        ("draw", True, False),
        ("fly watch  sing", False, True),
        ("", False, False),
        ("drawwatch DRAW draw,watch", False, False),
    ],
)
def test_a_scope_is_words_of_which_others_are_ignored(
    signed_access: Access, scope: str, draw: bool, watch: bool
) -> None:
    grant = signed_access.grant(forged(CLAIMS | {"scope": scope}))
    assert (grant.may_draw, grant.may_watch) == (draw, watch)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"aud": ["other", "rowcast"]},
        {"exp": NOW + 0.5},
        {"exp": NOW + 366 * 86_400},
        {"nbf": NOW + 4},  # the clock of who signed is ahead
        {"iat": NOW + 9, "iss": "https://example.org", "jti": 7, "more": [None]},
        {"sub": "Алиса 🎈"},
    ],
)
def test_tokens_of_other_programs_are_admitted(signed_access: Access, changed: Any) -> None:
    claims = CLAIMS | changed
    assert signed_access.grant(forged(claims)) == Grant(claims["sub"], expires=claims["exp"])


@pytest.mark.parametrize(
    ("token", "words"),
    [
        # Signatures and headers
        (forged(CLAIMS, key="another secret " * 3), "not admitted"),
        (forged(CLAIMS, {"alg": "none"}), "not admitted"),
        (f"{part({'alg': 'none'})}.{part(CLAIMS)}.", "not admitted"),
        (f"{part({'alg': 'NONE'})}.{part(CLAIMS)}.", "not admitted"),
        (forged(CLAIMS, {"alg": "RS256"}), "not admitted"),
        (forged(CLAIMS, {"alg": "RS256"}, PUBLIC_KEY), "not admitted"),
        (forged(CLAIMS, {"alg": "HS256"}, PUBLIC_KEY), "not admitted"),
        (forged(CLAIMS, {"alg": "HS512"}, algorithm="sha512"), "not admitted"),
        (forged(CLAIMS, {"typ": "JWT"}), "not admitted"),
        (forged(CLAIMS, {"alg": "HS256", "crit": ["x"], "x": 1}), "not admitted"),
        (forged(CLAIMS, {"alg": "HS256", "b64": False, "crit": ["b64"]}), "not admitted"),
        (forged(CLAIMS, {"alg": "HS256", "jwk": {"kty": "oct", "k": ""}}, ""), "not admitted"),
        (forged(CLAIMS).rpartition(".")[0], "not admitted"),
        (forged(CLAIMS).rpartition(".")[0] + ".", "not admitted"),
        (forged(CLAIMS | {"exp": NOW - 60}, key="another secret " * 3), "not admitted"),
        ("..", "not admitted"),
        (SECRET, "not admitted"),
        # Claims
        (forged(without("exp")), "it needs a sub, an exp"),
        (forged(without("sub")), "it needs a sub, an exp"),
        (forged(without("aud")), "the aud rowcast"),
        (forged(CLAIMS | {"aud": "other"}), "the aud rowcast"),
        (forged(CLAIMS | {"aud": ["other"]}), "the aud rowcast"),
        (forged(CLAIMS | {"aud": "rowcaster"}), "the aud rowcast"),
        (forged(CLAIMS | {"aud": {"rowcast": 1}}), "the aud rowcast"),
        (forged(CLAIMS | {"exp": str(NOW + 60)}), "an exp"),
        (forged(CLAIMS | {"exp": True}), "an exp"),
        (forged(CLAIMS | {"exp": None}), "an exp"),
        (forged(CLAIMS | {"exp": float("inf")}), "an exp"),
        (forged(CLAIMS | {"exp": float("nan")}), "an exp"),
        (forged(CLAIMS | {"sub": 7}), "a sub"),
        (forged(CLAIMS | {"sub": ""}), "a sub"),
        (forged(CLAIMS | {"sub": "x" * 129}), "a sub"),
        (forged(CLAIMS | {"sub": "a\nWARNING b"}), "not printable"),
        (forged(CLAIMS | {"sub": "token-0123456789ab"}), "the name of a shared token"),
        (forged(CLAIMS | {"scope": ["draw"]}), "needs"),
        (forged([CLAIMS]), "needs"),
        (forged(b"\xff\xfe"), "needs"),
        (forged(b"[" * 600), "needs"),
        (forged(json.dumps(CLAIMS | {"other": 0}).encode().replace(b"other", b"\xff")), "needs"),
        # Times
        (forged(CLAIMS | {"exp": NOW + 367 * 86_400}), "more than 366 days"),
        (forged(CLAIMS | {"exp": int(NOW + 60) * 1_000}), "more than 366 days"),
        (forged(CLAIMS | {"exp": 10**400}), "more than 366 days"),
        (forged(CLAIMS | {"nbf": NOW + 6}), "not valid yet"),
        (forged(CLAIMS | {"nbf": NOW + 6, "exp": NOW - 6}), "not valid yet"),
    ],
)
def test_a_forged_or_faulty_token_is_bad(signed_access: Access, token: str, words: str) -> None:
    assert len(token) <= 1_024
    with pytest.raises(BadToken, match=words) as caught:
        signed_access.grant(token)
    assert len(caught.value.reason.encode()) <= 123  # what a close frame holds


@pytest.mark.parametrize("end", [NOW, NOW - 0.5, NOW - 86_400, 0, -(10**400)])
def test_an_expired_token_is_told_from_a_bad_one(signed_access: Access, end: float) -> None:
    with pytest.raises(ExpiredToken) as caught:
        signed_access.grant(forged(CLAIMS | {"exp": end}))
    assert caught.value.code == CloseCode.TOKEN_EXPIRED


def test_a_token_expires_when_its_grant_says(signed_access: Access, clock: Clock) -> None:
    token = forged(CLAIMS)
    expires = signed_access.grant(token).expires
    assert expires is not None
    clock.now = expires - 0.01
    assert signed_access.grant(token)
    clock.now = expires
    with pytest.raises(ExpiredToken):
        signed_access.grant(token)


def test_the_longest_subject_fits_into_a_token(signed_access: Access) -> None:
    token = sign_token(SECRET.encode(), "🎈" * 128, NOW + 60)
    assert len(token) <= 1_024
    assert signed_access.grant(token).subject == "🎈" * 128


def test_a_longer_token_is_refused_before_it_is_looked_at(
    signed_access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = forged(CLAIMS | {"more": "x" * 700})
    assert len(long) > 1_024
    monkeypatch.setattr(module, "_encoded", None)  # whatever is done with a token begins with it
    with pytest.raises(BadToken, match="longer than 1024 characters"):
        signed_access.grant(long)


def test_either_kind_admits_where_both_are_set_up(secret_file: Path, clock: Clock) -> None:
    access = Access({"shared", "other"}, secret_file, clock)
    assert str(access) == "who has one of 2 tokens, or a signed one"
    assert str(access.grant("shared").subject).startswith("token-")
    assert access.grant(forged(CLAIMS)).subject == "alice"
    for token in ("share", forged(CLAIMS, key="another secret " * 3)):
        with pytest.raises(BadToken):
            access.grant(token)


def test_who_is_admitted_is_said_in_words(signed_access: Access) -> None:
    assert str(signed_access) == "who has a signed token"
    assert str(Access({"a"})) == "who has the token"
    assert str(Access()) == "everybody"


TEXT = st.text("aZ0. =é\n\x00🎈", max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OF_CLAIMS = st.sampled_from(["sub", "exp", "aud", "nbf", "scope"])
OF_HEADER = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk"])


@given(header=st.dictionaries(OF_HEADER, JSON), claims=st.dictionaries(OF_CLAIMS, JSON))
def test_whatever_is_signed_ends_in_a_grant_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "secrets"
    if not path.exists():
        path.write_text(SECRET)
    access = Access(secrets=path, clock=lambda: NOW)
    whole = {"alg": "HS256"}
    for token in (forged(CLAIMS | claims, whole), forged(CLAIMS, whole | header, "x" * 32)):
        try:
            grant = access.grant(token)
        except (BadToken, ExpiredToken):
            continue
        assert grant.subject == (CLAIMS | claims)["sub"]


@given(TEXT)
def test_whatever_is_sent_is_no_fault_of_the_server(text: str) -> None:
    with pytest.raises(BadToken):
        Access({"secret"}).grant(text)


@pytest.mark.parametrize(
    ("kind", "guesses"),
    [
        ("words", 50_000),
        ("near words", 40_000),
        ("signatures", 5_000),
        ("near signatures", 5_000),  # all 100,000 of each: tools/guess_tokens.py
    ],
)
def test_no_guess_is_admitted(kind: str, guesses: int) -> None:
    assert admitted_of(guesses, kind, seed=7) == 0
