"""The verb `evaluate`: the errors of a run over a split or a source, with the centre view or ten."""

import contextlib
import csv
import io
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from alexnet_jax import files
from alexnet_jax.data.batch import Batch
from alexnet_jax.data.records import Dataset, open_dataset
from alexnet_jax.data.unprepared import open_unprepared
from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import metrics
from alexnet_jax.evaluation.classes import columns_in_order
from alexnet_jax.evaluation.imagenet_names import readable
from alexnet_jax.evaluation.split import evaluate_split
from alexnet_jax.evaluation.views import Predictor
from alexnet_jax.inference import predict
from alexnet_jax.inference.mistakes import Mistakes
from alexnet_jax.progress import printable
from alexnet_jax.workdir import layout
from alexnet_jax.workdir.provenance import sealed
from alexnet_jax.workdir.trained import TrainedNet, read_config

MAX_CLASSES_SHOWN = 10
MAX_MISTAKES_SHOWN = 5  # confusions, and files
MAX_UNSEEN_SHOWN = 5


def evaluate(
    nets: Sequence[TrainedNet],
    split: str,
    views: int,
    *,
    source: str = "",
    class_map: str = "",
    predictions: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a net, or several whose probabilities are averaged (the paper's 5 and 7 nets).

    The classes of the images are the net's of the same names. How they were matched where they are not the
    net's own, and how a source was understood, stderr is told.

    Args:
      nets: what `trained.load_members` gave.
      split: a TFDS split, '' for the first config's test split, or for that of the source.
      views: 1 or 10.
      source: what is evaluated in the place of the config's dataset: a path, or 'digits'; '': that dataset.
      class_map: a file that says which class is which where the names differ; '': there is none.
      predictions: a CSV file to write, with a row for each image; None: none.

    Returns:
      `dataset`, `split`, `views`, `examples`, `loss`, `top1_error`, `top5_error` (fractions),
      `mean_class_error` (the mean of the classes' own top-1 errors), `classes` {name: {`examples`,
      `top1_error`}} of those that have images, `confusions` and `mistakes` as of `Mistakes.as_dict`,
      `checkpoints`, `changed` {what was changed for this answer: the value used}, `seconds`; of several nets
      also `members`, their own losses and errors; where there are any, `unseen`, classes without an image,
      and `incomplete`, the checkpoints without a manifest that were passed over; of a dataset with other
      classes `class_map` {its name of each: the net's}; of a source with damaged images `left_out`, how many;
      `selected` where these images selected the checkpoint; and `sha256`, of all before it, by which the
      report sees that nobody changed the file.

    Raises:
      UsageError: data that is not there, or whose classes the net does not know; a net without classes.
      RunFailure: an image cannot be read.
    """
    first = nets[0]
    predictors = [_in_order_of(first, net, views) for net in nets]
    dataset, split, left_out = _open(first, split, source, class_map)
    matched = first.match_classes(dataset.class_names, dataset.name, class_map)
    if matched.pairs:
        dataset = dataset.relabelled(matched.names, matched.labels)
        print(matched.notice, file=sys.stderr)
    started = time.monotonic()
    mistakes = Mistakes(dataset, split, first.output_names)
    with _writing(predictions, dataset, split, first, mistakes) as watch:
        averages = evaluate_split(dataset, first.config, first.mesh, split, predictors, watch=watch)
    assert averages is not None
    checkpoints = [f"{net.workdir}/{layout.CHECKPOINTS}/{net.step}" for net in nets]
    another = not source and first.dataset_digest not in ("", dataset.digest)
    data = {"source": source, "dataset": dataset.name if another else "", "classes": matched.short}
    answer = {
        "dataset": dataset.name,
        "split": split,
        "views": views,
        "examples": averages[-1].count,
        **_errors(averages[-1]),
        **by_class(averages[-1], dataset.class_names),
        **mistakes.as_dict(),
        "checkpoints": checkpoints,
        "changed": {key: value for key, value in data.items() if value} | _changed(first, split, views),
        "seconds": time.monotonic() - started,
    }
    if incomplete := [
        f"{net.workdir}/{layout.CHECKPOINTS}/{name}" for net in nets for name in net.incomplete
    ]:
        answer["incomplete"] = incomplete
    if matched.pairs:
        answer["class_map"] = dict(matched.pairs)
    if left_out:
        answer["left_out"] = left_out
    if split == first.config.data.validation_split and not (source or another):
        answer["selected"] = True
    if len(nets) > 1:
        answer["members"] = [
            {"checkpoint": checkpoint, **_errors(member)}
            for checkpoint, member in zip(checkpoints, averages, strict=False)
        ]
    return sealed(answer)


def _open(net: TrainedNet, split: str, source: str, class_map: str) -> tuple[Dataset, str, int]:
    """Return what is evaluated, the split, and how many images are left out; stderr gets the lines on it."""
    data = net.config.data
    if not source:
        return open_dataset(data), split or data.test_split, 0

    def check(names: Sequence[str]) -> None:
        net.match_classes(names, source, class_map)

    opened = open_unprepared(source, data, split, net.statistics, check)
    print(*map(printable, opened.lines), sep="\n", file=sys.stderr)
    return opened.dataset, opened.split, opened.left_out


def save(answer: dict[str, Any], workdir: Path) -> str:
    """Write an answer into the workdir of the first net; return a line for the user, '' for nothing to say.

    `evaluation.json` is the run's own result. An answer for which the net, its input, the data, the
    checkpoint, the split or the views were changed is not: it goes to `evaluation_other.json`, and
    `evaluation.json` stays as it is. That of several nets goes to `ensemble.json`. A workdir that cannot be
    written is no error.
    """
    name = layout.OTHER_EVALUATION if answer["changed"] else layout.EVALUATION
    name = layout.ENSEMBLE if "members" in answer else name
    own = ""
    if answer["changed"] and name != layout.ENSEMBLE:
        changed = ", ".join(f"{key}={printable(str(value))}" for key, value in answer["changed"].items())
        own = f"not the run's own result, since {changed}: "
    try:
        files.write_text(workdir / name, json.dumps(answer, indent=1) + "\n")
    except OSError as error:
        reason = error.strerror or error
        return f"{own}{workdir / name} cannot be written: {reason}; the answer is printed alone"
    return own and f"{own}written to {name}, and {layout.EVALUATION} stays as it is"


def _in_order_of(first: TrainedNet, net: TrainedNet, views: int) -> Predictor:
    """Return the predictor of a net, its probabilities in the order of the first net's classes."""
    probabilities = net.predictor(views)
    if net.output_names == first.output_names:
        return probabilities
    columns = np.asarray(columns_in_order(net.output_names, first.output_names))
    print(
        f"{net.workdir} has the classes of {first.workdir} in another order: matched by name", file=sys.stderr
    )
    return lambda image: probabilities(image)[:, columns]


@contextlib.contextmanager
def _writing(
    path: Path | None, dataset: Dataset, split: str, net: TrainedNet, mistakes: Mistakes
) -> Iterator[Callable[[jax.Array, Batch[np.ndarray]], None]]:
    """Yield what `evaluate_split` calls with each batch, for `mistakes` and a row for each image in `path`.

    The file is there when the block ends, and with all images, or not at all. Its columns: file, class, and
    guess_1, probability_1 and so on for the five likeliest; in the order of the split.
    """
    if path is None:
        yield mistakes.watch
        return
    records, names = dataset.records(split), net.output_names
    numbers = itertools.count()
    guessed = range(1, min(5, len(names)) + 1)
    try:
        stack = contextlib.ExitStack()
        file = stack.enter_context(files.atomic_write(path))
    except OSError as error:
        raise UsageError(f"--predictions={path} cannot be written: {error.strerror or error}") from None
    with stack:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(
            ["file", "class", *(f"{what}_{n}" for n in guessed for what in ("guess", "probability"))]
        )

        def watch(probabilities: jax.Array, batch: Batch[np.ndarray]) -> None:
            mistakes.watch(probabilities, batch)
            values = np.asarray(probabilities)
            for row in np.flatnonzero(batch["weight"]):
                five = predict.top5(values[row], names)
                guesses = itertools.chain.from_iterable(
                    (g.get("synset", g["name"]), f"{g['probability']:.6g}") for g in five
                )
                file_name = records.read(next(numbers))[2]
                rows.writerow([file_name, dataset.class_names[batch["label"][row]], *guesses])

        yield watch
        text.detach()


def check_predictions(path: Path) -> None:
    """Raise UsageError where `--predictions` names a folder, or a file where none can be written."""
    files.check_parent(path, "predictions")
    if path.is_dir():
        raise UsageError(f"--predictions={path} is a folder: name a file")
    if not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"--predictions={path} cannot be written: the folder {path.parent} is read-only")


def _changed(net: TrainedNet, split: str, views: int) -> dict[str, Any]:
    """Return what makes an answer another than the run's own result: {name: value used}, {} for its own."""
    saved, changed = read_config(net.workdir), net.changed()
    if split != saved.data.test_split:
        changed["split"] = split
    if views != saved.evaluate.views:
        changed["views"] = views
    return changed


def by_class(averages: metrics.Averages, class_names: Sequence[str]) -> dict[str, Any]:
    """Return `mean_class_error`, `classes` and, where it names some, `unseen`, as `evaluate` returns them."""
    classes = {
        name: {"examples": examples, "top1_error": wrong / examples}
        for name, (examples, wrong) in zip(class_names, averages.by_class, strict=False)
        if examples
    }
    errors = [row["top1_error"] for row in classes.values()]
    unseen = [name for name in class_names if name not in classes]
    answer = {"mean_class_error": sum(errors) / len(errors), "classes": classes}
    return answer | {"unseen": unseen} if unseen else answer


def _errors(averages: metrics.Averages) -> dict[str, float]:
    return {"loss": averages.loss, "top1_error": averages.top1_error, "top5_error": averages.top5_error}


def as_text(answer: dict[str, Any], outputs: int) -> str:
    """Return lines for the user: members of an ensemble, the classes with most errors, and a line for all.

    Args:
      answer: what `evaluate` gave.
      outputs: how many classes the net has.
    """
    views = "ten views" if answer["views"] == 10 else "the centre view"
    members = answer.get("members", [])
    nets = f" of {len(members)} nets" if members else ""
    lines = [f"{_line(member, outputs)}  {member['checkpoint']}" for member in members]
    classes = sorted(answer["classes"].items(), key=lambda item: (-item[1]["top1_error"], item[0]))
    for name, row in classes[:MAX_CLASSES_SHOWN]:
        lines.append(
            f"{1 - row['top1_error']:>6.1%} right of {row['examples']:,}  {printable(readable(name))}"
        )
    if len(classes) > MAX_CLASSES_SHOWN:
        more = len(classes) - MAX_CLASSES_SHOWN
        lines.append(f"  (and {more} classes with fewer errors; --json has all)")
    lines += _mistake_lines(answer)
    lines.append(
        f"{answer['dataset']} {answer['split']}, {answer['examples']:,} images, {views}{nets}: "
        f"{_line(answer, outputs)}, mean over classes {answer['mean_class_error']:.2%}"
    )
    if unseen := answer.get("unseen"):
        names = ", ".join(printable(readable(name)) for name in unseen[:MAX_UNSEEN_SHOWN])
        rest = f" and {len(unseen) - MAX_UNSEEN_SHOWN:,} more" if len(unseen) > MAX_UNSEEN_SHOWN else ""
        lines.append(
            f"no image of {names}{rest}: the mean is over {len(classes):,} of "
            f"{len(classes) + len(unseen):,} classes"
        )
    if answer.get("selected"):
        lines.append("these images also selected the checkpoint: the errors on others may be higher")
    return "\n".join(lines)


def _mistake_lines(answer: dict[str, Any]) -> list[str]:
    """Return lines on the confusions that came more than once, and on the files of the surest mistakes."""
    images = answer["classes"]
    often = [row for row in answer["confusions"] if row["examples"] > 1][:MAX_MISTAKES_SHOWN]
    lines = ["taken for another class most often:"] if often else []
    for row in often:
        of = images[row["class"]]["examples"]
        lines.append(
            f"  {readable(row['class'])} for {readable(row['guess'])}: {row['examples']:,} of {of:,}"
        )
    files_shown = answer["mistakes"][:MAX_MISTAKES_SHOWN]
    lines += ["surest mistakes (--predictions=FILE.csv has all):"] if files_shown else []
    for row in files_shown:
        right, guess = readable(row["class"]), readable(row["guess"])
        lines.append(f"  {row['file']}: {right}, taken for {guess} ({row['probability']:.1%})")
    return [printable(line) for line in lines]


def _line(errors: dict[str, Any], outputs: int) -> str:
    words = metrics.in_words(errors["top1_error"], errors["top5_error"], outputs)
    return f"{words}, loss {errors['loss']:.4f}"
