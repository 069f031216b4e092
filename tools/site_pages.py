"""The site's hook: documents that lie outside of docs/ become pages, and links are mended for them.

Links in the documents are right where they are read as files. A page of the site may lie elsewhere,
and what the site does not hold (code, examples) is named without a link. Run by mkdocs.yml.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {  # path in the repository -> page of the site
    "README.md": "index.md",
    "protocol.md": "protocol.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "training/README.md": "training/index.md",
    "training/NOTES.md": "training/notes.md",
    "training/MODEL_CARD.md": "training/model-card.md",
}
SOURCES = {page: path for path, page in PAGES.items()}
LINK = re.compile(r"(!?)\[([^]]*)\]\(([^)\s]+)\)")
ADDRESS = re.compile(r"[a-z]+:|#")


def on_files(files: Files, config: Any) -> Files:
    """Add the documents outside of docs/."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point relative links to pages of the site."""
    here = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(here, f"docs/{here}"))

    def mended(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if ADDRESS.match(target):
            return match[0]
        name, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, name))
        there = PAGES.get(path, path.removeprefix("docs/"))
        if path not in PAGES and not path.startswith("docs/"):
            return f"`{text}`"
        relative = posixpath.relpath(there, posixpath.dirname(here) or ".")
        return f"{mark}[{text}]({relative}{f'#{anchor}' if anchor else ''})"

    return LINK.sub(mended, markdown)
