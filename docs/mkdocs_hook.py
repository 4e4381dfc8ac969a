"""Puts the pages of the project's top folder into the site, beside those of docs/ (mkdocs.yml).

The explorer that lies in docs/ is copied as it is, under a name of its own: explorer.html is what becomes of
explorer.md.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
EXPLORER, EXPLORER_IN_SITE = "explorer.html", "explorer_cifar10.html"
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, and the explorer that lies in docs/."""
    explorer = str(ROOT / "docs" / EXPLORER)
    files.append(File.generated(config, EXPLORER_IN_SITE, abs_src_path=explorer))
    for name in PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links between the two folders lead to where the pages stand in the site: all in one folder."""
    folder = "docs/" if page.file.src_uri in PAGES else rf"\.\./(?=(?:{'|'.join(PAGES)})[)#])"
    markdown = re.sub(rf"\]\({folder}", "](", markdown)
    return markdown.replace(f"]({EXPLORER})", f"]({EXPLORER_IN_SITE})")
