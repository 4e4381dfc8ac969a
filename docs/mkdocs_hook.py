"""Puts the pages of the project's top folder into the site, beside those of docs/ (mkdocs.yml).

The explorer that lies in docs/ is copied as it is, under a name of its own: explorer.html is what becomes of
explorer.md.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
EXPLORER = {"explorer.html": "explorer_cifar10.html"}  # its name in docs/: its name in the site
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, and let links to the explorer lead to where it is copied."""
    for name, in_site in EXPLORER.items():
        explorer = files.get_file_from_path(name)
        if explorer is not None:
            explorer.dest_uri = in_site
            for known in ("url", "abs_dest_path"):  # from its old name
                explorer.__dict__.pop(known, None)
    for name in PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links between the two folders lead to where the pages stand in the site: all in one folder."""
    folder = "docs/" if page.file.src_uri in PAGES else rf"\.\./(?=(?:{'|'.join(PAGES)})[)#])"
    return re.sub(rf"\]\({folder}", "](", markdown)
