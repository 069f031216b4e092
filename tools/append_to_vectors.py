"""Write the vectors anew once a field was appended to a table of protocol.md.

PYTHONPATH=. python tools/append_to_vectors.py

Meanings get the field's default, and canonical frames are written with it. Vectors where something
else stands in the field's place are named: they are to be mended by hand, and new ones added.
"""

from __future__ import annotations

import json
from typing import Any

import msgpack

from tests import document
from tests.test_rows_format import read_rows_file

VECTORS = document.ROOT / "tests" / "vectors"


def main() -> None:
    """Rewrite both files, and name what is to be done by hand."""
    for name, key in (("frames.json", "frames"), ("rows_files.json", "files")):
        path = VECTORS / name
        text = path.read_text(encoding="utf-8")
        for vector in json.loads(text)[key]:
            new = appended(vector) if vector.get("meaning") else vector
            if new is None:
                print(f"by hand: {vector['name']}")
                continue
            first = text.index(f'"name": "{vector["name"]}"')
            for part in ("hex", "meaning") if new != vector else ():
                old = json.dumps(vector[part], ensure_ascii=False)
                written = json.dumps(new[part], ensure_ascii=False)
                text = text[:first] + text[first:].replace(old, written, 1)
        path.write_text(text, encoding="utf-8")


def appended(vector: dict[str, Any]) -> dict[str, Any] | None:
    """A valid vector as the tables have it now; None where its bytes now say something else."""
    data, is_frame = bytes.fromhex(vector["hex"]), "from" in vector
    try:
        read = document.decode_frame(vector["from"], data) if is_frame else read_rows_file(data)
    except document.Refused:
        return None
    meaning = document.as_json(read)
    if not grown(vector["meaning"], meaning):
        return None
    if is_frame and vector["canonical"]:
        part = meaning["message"]
        data = msgpack.packb(document.elements(part, document.from_json(part, meaning)))
    return vector | {"hex": data.hex(), "meaning": meaning}


def grown(old: Any, new: Any) -> bool:
    """True if a meaning says what it said, and nothing else but defaults."""
    if isinstance(old, dict) and isinstance(new, dict):
        more = [new[name] for name in new.keys() - old.keys()]
        nothing = all(not (any(each.values()) if isinstance(each, dict) else each) for each in more)
        return nothing and all(name in new and grown(old[name], new[name]) for name in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(grown, old, new))
    return bool(old == new)


if __name__ == "__main__":
    main()
