"""Who may come in: shared tokens, signed ones, and the files that they come from.

A shared token is a word that the server knows. A signed one is a JWT (RFC 7519): it says whom it is
for, until when and what for, and whoever has the secret makes it (`rowcast token`). Nothing here
shows a token or a secret: no error, no `repr`, no line of the log.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import jwt
import msgspec
from rowcast.errors import RowcastError
from rowcast.messages import MAX_TOKEN_CHARACTERS

from .errors import BadToken, ExpiredToken

logger = logging.getLogger(__name__)

TOKEN_VARIABLE: Final = "ROWCAST_TOKENS"
RELOAD_SECONDS: Final = 1.0
MAX_FILE_BYTES: Final = 1_048_576
MIN_SECRET_BYTES: Final = 32  # as long as what HS256 hashes to: RFC 7518, section 3.2
ALGORITHM: Final = "HS256"  # whatever the header of a token says
AUDIENCE: Final = "rowcast"
RIGHTS: Final = ("draw", "watch")
MAX_SUBJECT_CHARACTERS: Final = 128
MAX_LIFETIME_SECONDS: Final = 366 * 86_400  # an end in milliseconds is further away
LEEWAY_SECONDS: Final = 5.0  # by which the clock of whoever signs may be ahead
NOT_ADMITTED: Final = "this token is not admitted"
SIGNATURES: Final = jwt.PyJWS([ALGORITHM])
UNREADABLE: Final = "\N{REPLACEMENT CHARACTER}"
SHARED_SUBJECT: Final = re.compile(r"token-[0-9a-f]{12}")

Words = tuple[bytes, ...]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Grant:
    """What the bearer of a token may do.

    ``subject`` names the bearer, for shares and ownership; None where no token is asked for.
    ``expires`` is when the token ends, in seconds since the epoch; None: it does not.
    """

    subject: str | None
    may_draw: bool = True
    may_watch: bool = True
    expires: float | None = None


class Access:
    """Who may come in. Either kind of token admits; without both, everybody is admitted.

    ``tokens`` are shared tokens, or a file of them; ``secrets`` is a file of what tokens are signed
    with. Files are read at once, and again as they change. Raises RowcastError or OSError where one
    cannot be read, is empty or is faulty. ``clock`` returns seconds since the epoch.
    """

    def __init__(
        self,
        tokens: Path | Collection[str] = (),
        secrets: Path | None = None,
        clock: Clock = time.time,
    ) -> None:
        self._clock = clock
        self._tokens: Callable[[], Words]
        if isinstance(tokens, Path):
            self._tokens = _WordFile(tokens, read_tokens, clock)
        else:
            words = tuple(_encoded(token) for token in tokens)
            self._tokens = lambda: words
        self._secrets = None if secrets is None else _WordFile(secrets, read_secrets, clock)
        self.asks = isinstance(tokens, Path) or bool(tokens) or secrets is not None

    def __str__(self) -> str:
        """Who is admitted, for people: `who has one of 2 tokens, or a signed one`."""
        count = len(self._tokens())
        kinds = [f"one of {count} tokens" if count > 1 else "the token"] if count else []
        kinds += [] if self._secrets is None else ["a signed one" if count else "a signed token"]
        return f"who has {', or '.join(kinds)}" if kinds else "everybody"

    def grant(self, token: str | None) -> Grant:
        """What the bearer of this token may do. Raises BadToken or ExpiredToken."""
        if not self.asks:
            return Grant(None)
        if not token:
            raise BadToken("this server asks for a token")
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise BadToken(f"this token is longer than {MAX_TOKEN_CHARACTERS} characters")
        given = _encoded(token)
        # Every token is compared, so that the time tells nothing about which is near.
        if sum(hmac.compare_digest(given, known) for known in self._tokens()):
            return Grant(f"token-{hashlib.sha256(given).hexdigest()[:12]}")
        if self._secrets is None:
            raise BadToken(NOT_ADMITTED)
        return _granted(_verified(given, self._secrets()), self._clock())


def configured_access(
    token_file: Path | None, secret_file: Path | None, clock: Clock = time.time
) -> Access:
    """Access by these files; without a file of tokens by those of `$ROWCAST_TOKENS`.

    Raises RowcastError or OSError as `Access`, and where the variable holds no token.
    """
    text = os.environ.get(TOKEN_VARIABLE)
    if token_file is not None or text is None:
        return Access(token_file or (), secret_file, clock)
    if not text.split():
        raise RowcastError(
            f"${TOKEN_VARIABLE} holds no token; write one into it, or unset it to admit every "
            "client"
        )
    return Access(frozenset(text.split()), secret_file, clock)


def read_tokens(path: Path) -> Words:
    """The shared tokens of a file, one a line. Raises RowcastError or OSError."""
    return tuple(_read_words(path, "token", "leave it out to admit every client"))


def read_secrets(path: Path) -> Words:
    """The secrets of a file, one a line, each of 32 bytes or more; the first signs.

    Raises RowcastError or OSError.
    """
    words = _read_words(path, "secret", "make another with rowcast token --new-secret")
    for word, number in words.items():
        if len(word) < MIN_SECRET_BYTES:
            raise RowcastError(
                f"line {number} of {path} is shorter than {MIN_SECRET_BYTES} bytes, so it is no "
                "secret; make one with rowcast token --new-secret"
            )
        try:
            sign_token(word, "anybody", 0)
        except jwt.InvalidKeyError as error:  # a key that others may know, as a JWK
            raise RowcastError(
                f"line {number} of {path} is a key of another kind; make a secret with rowcast "
                "token --new-secret"
            ) from error
    return tuple(words)


def sign_token(
    secret: bytes, subject: str, expires: float, rights: Collection[str] = RIGHTS
) -> str:
    """A token for ``subject``, 1 to 128 printable characters, until ``expires`` (seconds since the
    epoch)."""
    claims = _Claims(subject, int(expires), AUDIENCE, scope=" ".join(rights))
    return SIGNATURES.encode(msgspec.json.encode(claims), secret, ALGORITHM)


class _Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a signed token says (RFC 7519, section 4.1; `scope`: RFC 8693, section 4.2)."""

    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SUBJECT_CHARACTERS)]
    exp: int | float
    aud: str | list[str]
    nbf: int | float = 0
    scope: str = " ".join(RIGHTS)


def _verified(token: bytes, secrets: Words) -> _Claims:
    """The claims of a token that one of the secrets has signed. Raises BadToken."""
    for secret in secrets:
        with contextlib.suppress(jwt.PyJWTError):
            payload = SIGNATURES.decode(token, secret, [ALGORITHM])
            break
    else:
        raise BadToken(NOT_ADMITTED)
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        # (Of bytes, what is skipped need not be UTF-8, as RFC 8259 has it.)
        claims = msgspec.json.decode(payload.decode(), type=_Claims)
        if AUDIENCE in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):
            return claims
    raise BadToken(f"this token is signed, but it needs a sub, an exp and the aud {AUDIENCE}")


def _granted(claims: _Claims, now: float) -> Grant:
    """What claims allow now. Raises BadToken or ExpiredToken."""
    if not claims.sub.isprintable() or SHARED_SUBJECT.fullmatch(claims.sub):
        raise BadToken("the sub of this token is not printable, or the name of a shared token")
    if claims.exp > now + LEEWAY_SECONDS + MAX_LIFETIME_SECONDS:
        raise BadToken(f"this token ends in more than {MAX_LIFETIME_SECONDS // 86_400} days")
    if claims.nbf > now + LEEWAY_SECONDS:
        raise BadToken("this token is not valid yet")
    if claims.exp <= now:
        raise ExpiredToken("this token has expired")
    rights = claims.scope.split(" ")
    return Grant(claims.sub, "draw" in rights, "watch" in rights, float(claims.exp))


class _WordFile:
    """The words of a file; a call returns them as they last were without a fault.

    The file is read again at most once a second, as words are asked for. One that is no file on a
    disk, as a pipe, is read once.
    """

    def __init__(self, path: Path, read: Callable[[Path], Words], clock: Clock) -> None:
        self._path, self._read, self._clock = path, read, clock
        self._stays = not path.is_file()
        self._read_at = clock()
        self._words = read(path)
        self._fault = ""

    def __call__(self) -> Words:
        now = self._clock()
        if not self._stays and not 0 <= now - self._read_at < RELOAD_SECONDS:
            self._read_at = now
            fault = self._read_again()
            if fault and fault != self._fault:
                logger.warning("%s; what it held before stays in force", fault)
            self._fault = fault
        return self._words

    def _read_again(self) -> str:
        """What is wrong with the file, empty if nothing is."""
        try:
            words = self._read(self._path)
        except OSError as error:
            return f"{self._path}: {error.strerror or error}"
        except RowcastError as error:
            return str(error)
        if words != self._words:
            self._words = words
            logger.info("%s was read again", self._path)
        return ""


def _read_words(path: Path, what: str, otherwise: str) -> dict[bytes, int]:
    """The words of a file, one a line, with the numbers of their lines. Raises RowcastError or
    OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise RowcastError(f"{path} is longer than {MAX_FILE_BYTES} bytes; name a file of {what}s")
    text = data.decode("utf-8-sig", "replace")  # an error would hold what the file does
    if UNREADABLE in text:
        raise RowcastError(f"{path} is no text; write one {what} a line, in UTF-8")
    words: dict[bytes, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if len(line.split()) > 1:  # a remark would admit whoever sends one of its words
            raise RowcastError(
                f"line {number} of {path} has more than one word; a line is a {what}"
            )
        words |= {_encoded(word): number for word in line.split()}
    if not words:
        raise RowcastError(f"{path} holds no {what}; write one into it, or {otherwise}")
    return words


def _encoded(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")  # as an environment may hold them
