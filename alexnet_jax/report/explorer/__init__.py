"""The explorer: one page, `report/explorer.html`, in which a person follows a picture through a trained net.

The page holds all that it needs, the net's numbers included, and asks nothing of any network. Its parts lie
beside this file: the page (Jinja2), the style, and JavaScript modules, which are put into the page as they
stand, in the order of what they import.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from alexnet_jax import files

HERE = Path(__file__).parent
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)


def write(
    path: Path,
    net: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    pictures: Sequence[tuple[str, bytes]],
) -> str:
    """Writes the page and returns where it lies, for a person.

    Args:
      path: of the page; it appears whole or not at all, its folder is made.
      net, arrays, pictures: as `inference.explorable.Explorable` has them.
    """
    places, blocks, at = {}, [], 0
    for name, values in arrays.items():
        flat = np.ascontiguousarray(values, "<f4").reshape(-1)
        places[name] = {"at": at, "shape": values.shape}
        blocks.append(flat.tobytes())
        at += flat.size
    data = {
        "net": net,
        "places": places,
        "pictures": [
            {"name": name, "png": base64.b64encode(file).decode("ascii")} for name, file in pictures
        ],
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("page.html.jinja").render(
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
    """A file of ours as the text of a <script> or <style>, after all that it imports."""
    text = bundle(name) if name.endswith(".js") else (HERE / name).read_text(encoding="utf-8")
    if re.search(rf"</{element}|<!--", text, re.IGNORECASE):
        raise ValueError(f"{name} would end the <{element}> that holds it")
    return Markup(text)


def bundle(name: str) -> str:
    """A module of `js/` and those that it imports, each once, as one text without import and export."""
    order: list[str] = []

    def visit(module: str) -> None:
        if module not in order:
            for imported in _IMPORT.findall((HERE / "js" / module).read_text(encoding="utf-8")):
                visit(imported)
            order.append(module)

    visit(name)
    texts = ((HERE / "js" / module).read_text(encoding="utf-8") for module in order)
    return "\n".join(re.sub(r"^export ", "", _IMPORT.sub("", text), flags=re.MULTILINE) for text in texts)
