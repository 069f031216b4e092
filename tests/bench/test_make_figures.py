"""Blocks of figures: each in a document has its maker, and only what stands in it is written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tools.make_figures import BLOCKS, DOCUMENTS, names_in, write

TEXT = """\
# A page
The block `<!-- figures: wire -->` is written by a command.

<!-- figures: wire -->
old | table
<!-- end -->
between
<!-- figures: demo -->
<!-- end -->
after
"""


def test_each_block_of_a_document_has_its_maker_and_each_maker_its_block() -> None:
    found = Counter(name for document in DOCUMENTS for name in names_in(document))
    assert found.keys() == BLOCKS.keys()


def test_every_document_with_the_block_is_written_and_nothing_else(tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("first.md", "second.md", "other.md"))
    first.write_text(TEXT, "utf-8")
    second.write_text(TEXT.replace("wire -->\nold", "wire -->\nolder\nold"), "utf-8")
    other.write_text(TEXT.replace("wire", "model"), "utf-8")
    assert names_in(first) == ["wire", "demo"]
    assert write("wire", r"new \1 | 7", [first, second, other]) == [first, second]
    wanted = TEXT.replace("old | table", r"new \1 | 7")
    assert (first.read_text("utf-8"), second.read_text("utf-8")) == (wanted, wanted)
    assert "old | table" in other.read_text("utf-8")
