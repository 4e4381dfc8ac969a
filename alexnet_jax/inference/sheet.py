"""The sheet of the verb `similar`: the images found, with their classes and scores."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_jax import drawing
from alexnet_jax.data.images import Preprocessing
from alexnet_jax.inference import predict, similar

MAX_IMAGES = 24
WIDTH = 1.85  # inches of a name
SOFT, RED, BAR, REST = "#555b66", "#b3261e", "#6f9fc8", "#e6e9ee"


@drawing.default_style()
def draw(answer: Mapping[str, Any], how: Preprocessing, path: Path) -> None:
    """Draw the image asked with and the first results, as the net reads files, into `path`.

    Above each image stands the class that the net takes it for, red where another one was asked for; below
    it are its score, of a label as a bar too, and its file.

    Args:
      answer: what `similar` gave.
      how: how the net reads a file: the squares that it saw are drawn.
      path: a .png or .svg.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = [{"file": answer["query"], "is_query": True}] if "query" in answer else []
    shown += answer["results"][: MAX_IMAGES - len(shown)]
    columns = min(6, max(len(shown), 1))
    rows = max(-(-len(shown) // columns), 1)
    width = max(2.0 * columns, 6)
    height = 2.75 * rows + 0.6
    below = 0.15 / height  # for the last row's files
    layout = ConstrainedLayoutEngine(h_pad=0.06, hspace=0.04, rect=(0, below, 1, 1 - below))
    figure = Figure(figsize=(width, height), layout=layout)
    drawing.fit(figure.suptitle("", fontsize=11, x=0.01, ha="left"), similar.heading(answer), width - 0.2)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, result in zip(axes.flat, shown, strict=False):
        _draw_result(axis, result, answer, how)
    drawing.save(figure, path)


def _draw_result(axis: Any, result: Mapping[str, Any], answer: Mapping[str, Any], how: Preprocessing) -> None:
    """Draw one image with its class, its score and its file into an axis."""
    from matplotlib.patches import Rectangle

    predict.draw_image(axis, result["file"], how)
    is_query, name = "is_query" in result, os.path.relpath(result["file"], answer["folder"])
    likeliest = "asked" if is_query else result.get("likeliest", "")
    colour = RED if "label" in answer and likeliest != answer["label"] else "black"
    weight = "bold" if is_query else "normal"
    if likeliest:
        drawing.fit(axis.set_title("", fontsize=9, color=colour, weight=weight), likeliest, WIDTH)
    under = {"transform": axis.transAxes, "va": "top", "ha": "center"}
    if "probability" in result:
        for share, fill in ((1.0, REST), (result["probability"], BAR)):
            axis.add_patch(
                Rectangle((0, -0.07), share, 0.045, transform=axis.transAxes, color=fill, clip_on=False)
            )
        axis.text(0.5, -0.09, f"{result['probability']:.1%}", fontsize=8.5, **under)
    elif "distance" in result:
        axis.text(0.5, -0.04, f"{result['distance']:.3g}", fontsize=8.5, **under)
    name = Path(name).name if is_query else name
    drawing.fit(axis.text(0.5, -0.2, "", fontsize=7, color=SOFT, **under), name, WIDTH, end=True)
