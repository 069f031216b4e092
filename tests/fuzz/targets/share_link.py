"""Share links: what is no link is refused, and a link is read as the document says."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Final

from rowcast.errors import InvalidRequest
from rowcast.share_link import ShareLink

from tests import document
from tests.fuzz.mutation import worded
from tests.fuzz.target import Target, told

LINKS: Final = document.ROOT / "tests" / "vectors" / "links.json"
WORDS: Final = (
    b"rowcast:", b"ws://", b"wss://", b"#", b"/", b"-", b"0", b"65535", b"65536", b"00000", b"-1",
    b"?", b"@", b"%23", b"[::1]", b":8765", b"28a8bd2fe1371aeda1f74be771dd0b93", b"\n", b" ",
    b"\xd9\xa3", b"\xef\xbc\x91", b"xn--",
)  # fmt: skip


@cache
def expression() -> re.Pattern[str]:
    (text,) = document.code_blocks("expression")
    return re.compile(text.strip())


def read(data: bytes) -> str:
    """A link has one meaning, the document's, and is written as one of that meaning."""
    text = data.decode("utf-8", "surrogateescape")
    found = expression().fullmatch(text)
    numbers = (int(found[3]), int(found[4] or found[3])) if found else (0, -1)
    is_one = 0 <= numbers[0] <= numbers[1] <= 65_535
    try:
        link = ShareLink.parse(text)
    except InvalidRequest as error:
        assert not is_one, text
        return told(error)
    assert found is not None, text
    assert is_one, text
    said = link.server, link.view_key.hex(), link.first_image, link.last_image
    assert said == (found[1], found[2], *numbers), link
    assert link.images >= 1
    assert ShareLink.parse(str(link)) == link
    return f"{min(3, link.server.count(':'))} {numbers[0] == numbers[1]}"


def seeds() -> list[bytes]:
    links = json.loads(LINKS.read_text("utf-8"))["links"]
    return [each["link"].encode("utf-8", "surrogatepass") for each in links]


TARGETS: Final = {"share_link": Target(read, seeds, worded(*WORDS))}
