"""The verb `evaluate`: the errors of a run over a split, with the centre view or the paper's ten."""

import json
import time
from typing import Any

from alexnet_jax import files
from alexnet_jax.data import pipeline
from alexnet_jax.inference.run import Run
from alexnet_jax.progress import printable
from alexnet_jax.training import evaluation, loop, metrics

SHOWN = 10  # classes


def evaluate(runs: list[Run], split: str, views: int) -> dict[str, Any]:
    """Evaluates a net, or several whose probabilities are averaged (the paper's 5 and 7 nets).

    Writes `evaluation.json` into the workdir of the net, or `ensemble.json` into that of the first.

    Args:
      runs: what `run.load_members` gave.
      split: a TFDS split, '' for the first config's test split.
      views: 1 or 10.

    Returns:
      What was written: `dataset`, `split`, `views`, `examples`, `loss`, `top1_error`, `top5_error`
      (fractions), `mean_class_error` (the mean of the classes' own top-1 errors), `classes` {name:
      {`examples`, `top1_error`}} of those that have pictures, `checkpoints`, `seconds`; of several nets
      also `members`, their own losses and errors.
    """
    first = runs[0]
    dataset = pipeline.open_dataset(first.config.data)
    for run in runs:
        loop.check_classes(len(dataset.class_names), run.config, str(dataset.folder))
    split = split or first.config.data.test_split
    started = time.monotonic()
    averages = evaluation.evaluate_split(
        dataset, first.config, first.mesh, split, [run.predictor(views) for run in runs]
    )
    assert averages is not None
    checkpoints = [f"{run.workdir}/checkpoints/{run.step}" for run in runs]
    answer = {
        "dataset": dataset.folder.parent.name,
        "split": split,
        "views": views,
        "examples": averages[-1].count,
        **_errors(averages[-1]),
        **by_class(averages[-1], dataset.class_names),
        "checkpoints": checkpoints,
        "seconds": time.monotonic() - started,
    }
    if len(runs) > 1:
        answer["members"] = [
            {"checkpoint": checkpoint, **_errors(found)}
            for checkpoint, found in zip(checkpoints, averages, strict=False)
        ]
    name = "ensemble.json" if len(runs) > 1 else "evaluation.json"
    files.write_text(first.workdir / name, json.dumps(answer, indent=1) + "\n")
    return answer


def by_class(found: metrics.Averages, class_names: tuple[str, ...]) -> dict[str, Any]:
    """`mean_class_error` and `classes`, as `evaluate` returns them."""
    classes = {
        name: {"examples": examples, "top1_error": wrong / examples}
        for name, (examples, wrong) in zip(class_names, found.by_class, strict=False)
        if examples
    }
    errors = [row["top1_error"] for row in classes.values()]
    return {"mean_class_error": sum(errors) / len(errors), "classes": classes}


def _errors(found: metrics.Averages) -> dict[str, float]:
    return {"loss": found.loss, "top1_error": found.top1_error, "top5_error": found.top5_error}


def as_text(answer: dict[str, Any]) -> str:
    """For a person: members of an ensemble, classes (the worst first, at most ten), and a line for all."""
    views = "ten views" if answer["views"] == 10 else "the centre view"
    members = answer.get("members", [])
    nets = f" of {len(members)} nets" if members else ""
    lines = [f"{_line(member)}  {member['checkpoint']}" for member in members]
    classes = sorted(answer["classes"].items(), key=lambda item: (-item[1]["top1_error"], item[0]))
    for name, row in classes[:SHOWN]:
        lines.append(f"{1 - row['top1_error']:>6.1%} right of {row['examples']:,}  {printable(name)}")
    if len(classes) > SHOWN:
        lines.append(f"  (and {len(classes) - SHOWN} classes with fewer errors; --json has all)")
    lines.append(
        f"{answer['dataset']} {answer['split']}, {answer['examples']:,} pictures, {views}{nets}: "
        f"{_line(answer)}, mean over classes {answer['mean_class_error']:.2%}"
    )
    return "\n".join(lines)


def _line(errors: dict[str, Any]) -> str:
    return (
        f"top-1 error {errors['top1_error']:.2%}, top-5 error {errors['top5_error']:.2%}, "
        f"loss {errors['loss']:.4f}"
    )
