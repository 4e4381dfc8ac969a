"""Write the explorer: one page in which the user follows an image through a trained net.

The page holds all that it needs, the net's numbers included, and asks nothing of any network. Its parts lie
beside this file: the page (Jinja2), the style, and JavaScript modules, each of which is put into the page as
a function of its own, in the order of what they import. A lesson is `lesson_<name>.html.jinja`,
`lesson_<name>.css` where it has a style of its own, `js/<name>.js` and, in English and Chinese,
`js/<name>-strings.js`; `js/main.js` lists the lessons.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from alexnet_jax import files
from alexnet_jax.report import template
from alexnet_jax.report.explorer import sheets
from alexnet_jax.workdir import layout

if TYPE_CHECKING:
    from alexnet_jax.inference.explorer_data import SoughtPatches

HERE = Path(__file__).parent
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function\*?|class|const) ([\w$]+))", re.MULTILINE)


def write(
    path: Path,
    net: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    images: Sequence[tuple[str, bytes]],
    digits: Mapping[str, Any] | None,
    sought: SoughtPatches | None,
) -> str:
    """Write the page and return a line that says where it is.

    Args:
      path: of the page; it appears whole or not at all, its folder is made.
      net: the net's table and what its answers mean, as JSON has it.
      arrays: float32 '<layer>/kernel', '<layer>/bias' and 'mean', shaped as `inference.explorer_data` says.
      images: (name, PNG file) of images of the net's own size.
      digits: that the lesson on learning trains on, as `inference.explorer_data.lesson_digits` says.
      sought: what the channels look for; None where the run's images are not here.
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
        "digits": digits,
        "sought": sheets.pack(sought) if sought else None,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, render(data, base64.b64encode(b"".join(blocks)).decode("ascii")))
    return f"{path}: {path.stat().st_size / 1e6:.1f} MB, to be opened in a browser"


def render(data: Mapping[str, Any], numbers: str) -> str:
    """Return the page of what `write` puts into it: `data` as JSON has it, the net's numbers in base64."""
    return template.load(HERE / "page.html.jinja").render(
        data=data,
        numbers=numbers,
        report=layout.REPORT_PAGE,
        style=_inside("style.css", "style"),
        script=_inside("main.js", "script"),
        worker=_inside("worker.js", "script"),
    )


def _inside(name: str, element: str) -> Markup:
    """Return one of our files as the text of a <script> or <style>, after all that it imports."""
    text = bundle(name) if name.endswith(".js") else _styles()
    if re.search(rf"</{element}|<!--", text, re.IGNORECASE):
        raise ValueError(f"{name} would end the <{element}> that holds it")
    return Markup(text)


def _styles() -> str:
    """Return the page's style, then that of each lesson that has one."""
    files_in_order = [HERE / "style.css", *sorted(HERE.glob("lesson_*.css"))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files_in_order)


def bundle(name: str) -> str:
    """Return a module of `js/` and those that it imports as one text without import and export.

    Each stands in it once, as a function of its own that returns what it exports: two lessons may use the
    same name for two things.
    """
    done: dict[str, str] = {}

    def visit(module: str) -> None:
        if module not in done:
            text = (HERE / "js" / module).read_text(encoding="utf-8")
            for _, imported in _IMPORT.findall(text):
                visit(imported)
            exported = ", ".join(name for _, name in _EXPORT.findall(text))
            text = _IMPORT.sub(lambda found: f"const {found[1]} = {_variable(found[2])};\n", text)
            text = _EXPORT.sub(r"\1", text)
            done[module] = f"const {_variable(module)} = (() => {{\n{text}return {{ {exported} }};\n}})();\n"

    visit(name)
    return "\n".join(done.values())


def _variable(module: str) -> str:
    """Return the name in the page of what a module exports."""
    return "module_" + module.removesuffix(".js").replace("-", "_")
