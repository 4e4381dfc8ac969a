"""Write the explorer: one page in which the user follows an image through a trained net.

The page holds all that it needs, the net's numbers included, and asks nothing of any network. Its parts lie
beside this file: the page (Jinja2), the style, and JavaScript modules, which are put into the page as they
stand, in the order of what they import.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from alexnet_jax import files
from alexnet_jax.report import template

HERE = Path(__file__).parent
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)


def write(
    path: Path,
    net: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    images: Sequence[tuple[str, bytes]],
) -> str:
    """Write the page and return a line that says where it is.

    Args:
      path: of the page; it appears whole or not at all, its folder is made.
      net: the net's table and what its answers mean, as JSON has it.
      arrays: float32 '<layer>/kernel', '<layer>/bias' and 'mean', shaped as `inference.explorer_data` says.
      images: (name, PNG file) of images of the net's own size.
    """
    positions, blocks, start = {}, [], 0
    for name, values in arrays.items():
        flat = np.ascontiguousarray(values, "<f4").reshape(-1)
        positions[name] = {"at": start, "shape": values.shape}
        blocks.append(flat.tobytes())
        start += flat.size
    data = {
        "net": net,
        "places": positions,
        "pictures": [{"name": name, "png": base64.b64encode(file).decode()} for name, file in images],
    }
    page = template.load(HERE / "page.html.jinja").render(
        data=data,
        numbers=base64.b64encode(b"".join(blocks)).decode("ascii"),
        style=_inside("style.css", "style"),
        script=_inside("main.js", "script"),
        worker=_inside("worker.js", "script"),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, page)
    return f"{path}: {path.stat().st_size / 1e6:.1f} MB, to be opened in a browser"


def _inside(name: str, element: str) -> Markup:
    """Return one of our files as the text of a <script> or <style>, after all that it imports."""
    text = bundle(name) if name.endswith(".js") else (HERE / name).read_text(encoding="utf-8")
    if re.search(rf"</{element}|<!--", text, re.IGNORECASE):
        raise ValueError(f"{name} would end the <{element}> that holds it")
    return Markup(text)


def bundle(name: str) -> str:
    """Return a module of `js/` and those that it imports, each once, as one text without import, export."""
    order: list[str] = []

    def visit(module: str) -> None:
        if module not in order:
            for imported in _IMPORT.findall((HERE / "js" / module).read_text(encoding="utf-8")):
                visit(imported)
            order.append(module)

    visit(name)
    texts = ((HERE / "js" / module).read_text(encoding="utf-8") for module in order)
    return "\n".join(re.sub(r"^export ", "", _IMPORT.sub("", text), flags=re.MULTILINE) for text in texts)
