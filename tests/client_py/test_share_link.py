"""Share links: the vectors of protocol.md section 12, and what cannot be one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rowcast.errors import InvalidRequest
from rowcast.share_link import ShareLink

VECTORS = Path(__file__).parent.parent / "vectors" / "links.json"
LINKS: list[dict[str, Any]] = json.loads(VECTORS.read_text("utf-8"))["links"]
KEY = bytes(range(16))


@pytest.mark.parametrize("vector", LINKS, ids=lambda vector: vector["name"])
def test_a_link_says_what_it_means_or_is_none(vector: dict[str, Any]) -> None:
    if not vector["valid"]:
        with pytest.raises(InvalidRequest):
            ShareLink.parse(vector["link"])
        return
    meaning = vector["meaning"]
    link = ShareLink.parse(vector["link"])
    assert link == ShareLink(
        meaning["server"], bytes.fromhex(meaning["view_key"]), meaning["first"], meaning["last"]
    )
    assert link.images == meaning["last"] - meaning["first"] + 1
    assert ShareLink.parse(str(link)) == link


def test_one_picture_is_written_without_a_last() -> None:
    assert str(ShareLink("ws://h:1", KEY)) == f"rowcast:ws://h:1#{KEY.hex()}/0"
    assert str(ShareLink("ws://h:1", KEY, 2, 4)) == f"rowcast:ws://h:1#{KEY.hex()}/2-4"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ws://alice:s3cret@h:1", KEY), "without user, password and query"),
        (("ws://h:1/?token=s3cret", KEY), "without user, password and query"),
        (("http://h:1", KEY), "ws:// or wss://"),
        (("ws://h:1", KEY[:15]), "view_key must be 16 bytes, not 15"),
        (("ws://h:1", KEY, 3, 2), "must be from first_image to 65535, not 2"),
        (("ws://h:1", KEY, 0, 65_536), "must be from first_image to 65535, not 65536"),
    ],
)
def test_what_no_link_can_hold_is_told_without_showing_it(arguments: Any, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as caught:
        ShareLink(*arguments)
    assert "s3cret" not in str(caught.value)
