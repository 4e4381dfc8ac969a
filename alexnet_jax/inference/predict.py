"""The verb `predict`: the five best guesses for a person's own pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.errors import UsageError
from alexnet_jax.inference import reading
from alexnet_jax.inference.run import Run
from alexnet_jax.progress import Progress, printable
from alexnet_jax.training import step
from alexnet_jax.training.evaluation import padded_batch_size


def predict(run: Run, files: list[Path], views: int) -> list[dict[str, Any]]:
    """The five best guesses for each file.

    Args:
      run: what `run.load` gave.
      files: pictures.
      views: 1 or 10.

    Returns:
      For each file {'file', 'top5': [{'label', 'name', 'probability'}, ...]}, or {'file', 'error'} for one
      that cannot be decoded.
    """
    data = run.config.data
    batch_size = padded_batch_size(min(run.config.evaluate.batch_size, len(files)), run.mesh)
    answers: list[dict[str, Any]] = []
    probabilities_of = run.predictor(views)
    with Progress("predict", len(files), "pictures", shown=len(files) > batch_size) as progress:
        for batch in reading.batches(files, data, batch_size):
            image = step.to_device({"image": batch.images}, run.mesh)["image"]
            values = np.asarray(probabilities_of(image))
            for path, reason, row in zip(batch.files, batch.errors, values, strict=False):
                answers.append(
                    {"file": str(path), "error": reason}
                    if reason is not None
                    else {"file": str(path), "top5": top5(row, run.class_names)}
                )
            progress.update(len(batch.files))
    return answers


def top5(probabilities: np.ndarray, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The five likeliest classes of one picture, or all where there are fewer."""
    order = np.argsort(-probabilities, kind="stable")[:5]
    return [
        {
            "label": int(label),
            "name": class_names[label] if label < len(class_names) else f"class {label}",
            "probability": float(probabilities[label]),
        }
        for label in order
    ]


def as_text(answers: list[dict[str, Any]]) -> str:
    """The answers for a terminal."""
    lines = []
    for answer in answers:
        lines.append(printable(answer["file"]))
        if "error" in answer:
            lines.append(f"  cannot be read: {printable(answer['error'])}")
        for guess in answer.get("top5", ()):
            lines.append(f"  {guess['probability']:7.2%}  {printable(guess['name'])}")
    return "\n".join(lines)


def draw(answers: list[dict[str, Any]], path: Path) -> None:
    """Draws up to 24 pictures with their guesses as bars (after the paper's figure 4) into `path`.

    Raises:
      UsageError: the suffix is not .png or .svg, or the folder does not exist.
    """
    check_figure(path)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image, ImageOps

    shown = [answer for answer in answers if "top5" in answer][:24]
    if not shown:
        return
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = pyplot.subplots(
        2 * rows, columns, figsize=(2.4 * columns, 3.6 * rows), squeeze=False, height_ratios=[3, 2] * rows
    )
    for place in axes.flat:
        place.axis("off")
    for number, answer in enumerate(shown):
        row, column = divmod(number, columns)
        with Image.open(answer["file"]) as image:
            axes[2 * row, column].imshow(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
        axes[2 * row, column].set_title(
            printable(Path(answer["file"]).name)[:28], fontsize=8, parse_math=False
        )
        bars, guesses = axes[2 * row + 1, column], answer["top5"]
        bars.set_xlim(0, 1)
        bars.set_ylim(len(guesses) - 0.5, -0.5)
        bars.barh(range(len(guesses)), [g["probability"] for g in guesses], color="#9ecae1")
        for place, guess in enumerate(guesses):
            label = f"{printable(guess['name'])[:24]}  {guess['probability']:.0%}"
            bars.text(0.01, place, label, va="center", fontsize=7, parse_math=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def check_figure(path: Path) -> None:
    """Raises UsageError when no figure can be written to `path`."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"--output={path}: the name of a figure ends in .png or .svg")
    if not path.parent.is_dir():
        raise UsageError(f"--output={path}: the folder {path.parent} does not exist")
