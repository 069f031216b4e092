"""Guesses at tokens: how many are admitted of so many, of each kind, at random and near a true one.

python tools/guess_tokens.py --guesses 100000 --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

from rowcast_server.access import Access, sign_token
from rowcast_server.errors import BadToken, ExpiredToken

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
NOW = 1_800_000_000.0


def admitted_of(guesses: int, kind: str, seed: int) -> int:
    """How many of so many guesses of a kind of `GUESSES` a server with both kinds of tokens admits.

    Raises RuntimeError if it does not admit the true ones.
    """
    draw = random.Random(seed)
    known = "".join(draw.choices(LETTERS, k=24))
    secret = "".join(draw.choices(LETTERS, k=43))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "secrets"
        file.write_text(secret + "\n")
        access = Access([known], file, lambda: NOW)
    signed = sign_token(secret.encode(), "alice", NOW + 60)
    if not all(_admits(access, true) for true in (known, signed)):
        raise RuntimeError("the true tokens are not admitted")
    guess = GUESSES[kind]
    return sum(_admits(access, guess(draw, known, signed)) for _ in range(guesses))


def _admits(access: Access, token: str) -> bool:
    try:
        access.grant(token)
    except (BadToken, ExpiredToken):
        return False
    return True


def _word(draw: random.Random, known: str, signed: str) -> str:
    return "".join(draw.choices(LETTERS, k=draw.choice((1, 8, len(known)))))


def _near_word(draw: random.Random, known: str, signed: str) -> str:
    place = draw.randrange(len(known))
    other = draw.choice(LETTERS.replace(known[place], ""))
    return known[:place] + draw.choice(("", other, other + known[place])) + known[place + 1 :]


def _signature(draw: random.Random, known: str, signed: str) -> str:
    claims, _, _ = signed.rpartition(".")
    return f"{claims}.{urlsafe_b64encode(draw.randbytes(32)).decode().rstrip('=')}"


def _near_signature(draw: random.Random, known: str, signed: str) -> str:
    place = draw.randrange(len(signed) - 1)  # the last letter has two bits that mean nothing
    return signed[:place] + draw.choice(LETTERS.replace(signed[place], "")) + signed[place + 1 :]


GUESSES: dict[str, Callable[[random.Random, str, str], str]] = {
    "words": _word,
    "near words": _near_word,
    "signatures": _signature,
    "near signatures": _near_signature,
}


def main() -> int:
    """Print a line for each kind; returns 1 if any guess was admitted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guesses", type=int, default=100_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = 0
    for kind in GUESSES:
        admitted = admitted_of(options.guesses, kind, options.seed)
        print(f"{kind}: {admitted} of {options.guesses:,} guesses admitted", flush=True)
        found += admitted
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
