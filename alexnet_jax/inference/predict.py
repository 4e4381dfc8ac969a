"""The verb `predict`: the five best guesses for a user's own images."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax import drawing, extras
from alexnet_jax.data import image_files
from alexnet_jax.data.images import BadImage, Preprocessing, read_file, resize_center_crop
from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import activations
from alexnet_jax.evaluation.imagenet_names import readable
from alexnet_jax.files import check_parent
from alexnet_jax.progress import Progress, printable
from alexnet_jax.workdir.trained import TrainedNet

MAX_IMAGES = 24  # in a figure


def predict(net: TrainedNet, files: Sequence[Path], views: int) -> list[dict[str, Any]]:
    """Return the five best guesses for each file.

    Args:
      net: what `trained.load` gave.
      files: images.
      views: 1 or 10.

    Returns:
      For each file {'file', 'top5': what `top5` returns}, or {'file', 'error'} where it cannot be decoded.
    """
    rows = activations.rows_at_once(net, net.config.evaluate.batch_size, len(files))
    answers: list[dict[str, Any]] = []
    probabilities_of, names = net.predictor(views), net.output_names
    with Progress("predict", len(files), "images", shown=len(files) > rows) as progress:
        for batch in image_files.decode_batches(files, net.config.data, rows):
            values = np.asarray(probabilities_of(activations.on_mesh(net, batch.images)))
            for path, reason, row in zip(batch.files, batch.errors, values, strict=False):
                answers.append(
                    {"file": str(path), "error": reason}
                    if reason is not None
                    else {"file": str(path), "top5": top5(row, names)}
                )
            progress.update(len(batch.files))
    return answers


def top5(probabilities: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the five likeliest classes of one image, or all where there are fewer; `names` by output.

    A class that is called by its synset id has its readable name as `name`, and the id as `synset`.
    """
    order = np.argsort(-probabilities, kind="stable")[:5]
    guesses = []
    for label in order:
        name = readable(names[label])
        synset = {} if name == names[label] else {"synset": names[label]}
        guesses.append(
            {"label": int(label), "name": name, "probability": float(probabilities[label]), **synset}
        )
    return guesses


def as_text(answers: Sequence[dict[str, Any]]) -> str:
    """Return the answers for a terminal."""
    lines = []
    for answer in answers:
        lines.append(printable(answer["file"]))
        if "error" in answer:
            lines.append(f"  cannot be read: {printable(answer['error'])}")
        for guess in answer.get("top5", ()):
            lines.append(f"  {guess['probability']:7.2%}  {printable(guess['name'])}")
    return "\n".join(lines)


@drawing.default_style()
def draw(answers: Sequence[dict[str, Any]], how: Preprocessing, path: Path) -> None:
    """Draw up to 24 images with their guesses as bars (after the paper's figure 4) into `path`.

    Args:
      answers: what `predict` gave.
      how: how the net reads a file: the squares that it saw are drawn.
      path: a .png or .svg.

    Raises:
      UsageError: the suffix is not .png or .svg, or the folder does not exist.
    """
    check_figure(path)
    from matplotlib.figure import Figure

    shown = [answer for answer in answers if "top5" in answer][:MAX_IMAGES]
    if not shown:
        return
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.4 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[3, 2] * rows)
    for axis in axes.flat:
        axis.axis("off")
    for number, answer in enumerate(shown):
        row, column = divmod(number, columns)
        file = answer["file"]
        draw_image(axes[2 * row, column], file, how)
        drawing.fit(axes[2 * row, column].set_title("", fontsize=8), Path(file).name, 2.2, end=True)
        draw_bars(axes[2 * row + 1, column], answer["top5"])
    drawing.save(figure, path)


def draw_bars(axis: Any, guesses: Sequence[dict[str, Any]]) -> None:
    """Draw guesses into a matplotlib axis 2.3 inches wide: bars, on each its name and probability."""
    axis.set_xlim(0, 1)
    axis.set_ylim(len(guesses) - 0.5, -0.5)
    axis.barh(range(len(guesses)), [guess["probability"] for guess in guesses], color="#9ecae1")
    for height, guess in enumerate(guesses):
        drawing.fit(axis.text(0.01, height, "", va="center", fontsize=7), guess["name"], 1.65)
        axis.text(0.99, height, f"{guess['probability']:.1%}", va="center", ha="right", fontsize=7)


def draw_image(axis: Any, file: str, how: Preprocessing) -> None:
    """Draw the square that a net saw of an image file into a matplotlib axis; none where the file is gone."""
    with contextlib.suppress(BadImage, OSError):
        pixels = resize_center_crop(read_file(Path(file)), how)
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)


def check_figure(path: Path) -> None:
    """Check that a figure can be written to `path`; raise UsageError where none can."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"--output={path}: the name of a figure ends in .png or .svg")
    check_parent(path)
    extras.require("pages", f"--output={path}")
