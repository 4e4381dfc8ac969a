"""The verb `evaluate`: the errors of a run over a split, with the centre view or the paper's ten."""

import json
import time
from collections.abc import Sequence
from typing import Any

from alexnet_jax import files
from alexnet_jax.data.records import Dataset, open_dataset
from alexnet_jax.data.splits import check_classes
from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import metrics
from alexnet_jax.evaluation.split import evaluate_split
from alexnet_jax.progress import printable
from alexnet_jax.workdir import layout
from alexnet_jax.workdir.provenance import sealed
from alexnet_jax.workdir.trained import TrainedNet, read_config

MAX_CLASSES_SHOWN = 10


def evaluate(nets: Sequence[TrainedNet], split: str, views: int) -> dict[str, Any]:
    """Evaluate a net, or several whose probabilities are averaged (the paper's 5 and 7 nets).

    Writes `evaluation.json` into the workdir of the net, or `ensemble.json` into that of the first. An answer
    for which the net, its input, the checkpoint, the split or the views were changed is not the run's own
    result: it goes to `evaluation_other.json`, and `evaluation.json` stays as it is.

    Args:
      nets: what `trained.load_members` gave.
      split: a TFDS split, '' for the first config's test split.
      views: 1 or 10.

    Returns:
      What was written: `dataset`, `split`, `views`, `examples`, `loss`, `top1_error`, `top5_error`
      (fractions), `mean_class_error` (the mean of the classes' own top-1 errors), `classes` {name:
      {`examples`, `top1_error`}} of those that have images, `checkpoints`, `changed` {what was changed for
      this answer: the value used}, `seconds`; of several nets also `members`, their own losses and errors;
      and `sha256`, of all before it, by which the report sees that nobody changed the file.
    """
    first = nets[0]
    dataset = open_dataset(first.config.data)
    for net in nets:
        check_classes(len(dataset.class_names), net.config.model.classes, str(dataset.folder))
        _check_order(net, dataset)
    split = split or first.config.data.test_split
    started = time.monotonic()
    averages = evaluate_split(
        dataset, first.config, first.mesh, split, [net.predictor(views) for net in nets]
    )
    assert averages is not None
    checkpoints = [f"{net.workdir}/{layout.CHECKPOINTS}/{net.step}" for net in nets]
    changed = _changed(first, split, views)
    answer = {
        "dataset": dataset.folder.parent.name,
        "split": split,
        "views": views,
        "examples": averages[-1].count,
        **_errors(averages[-1]),
        **by_class(averages[-1], dataset.class_names),
        "checkpoints": checkpoints,
        "changed": changed,
        "seconds": time.monotonic() - started,
    }
    if len(nets) > 1:
        answer["members"] = [
            {"checkpoint": checkpoint, **_errors(member)}
            for checkpoint, member in zip(checkpoints, averages, strict=False)
        ]
    answer = sealed(answer)
    files.write_text(first.workdir / _file_name(answer), json.dumps(answer, indent=1) + "\n")
    return answer


def _check_order(net: TrainedNet, dataset: Dataset) -> None:
    """Raise UsageError where a dataset has the names of a net's classes under other labels."""
    names = dataset.class_names
    if names != net.class_names and sorted(names) == sorted(net.class_names):
        label = next(label for label, name in enumerate(names) if name != net.class_names[label])
        raise UsageError(
            f"{dataset.folder} has {printable(names[label])} as class {label}, and the net in {net.workdir} "
            f"{printable(net.class_names[label])}: prepare the data again with the classes in the net's order"
        )


def _changed(net: TrainedNet, split: str, views: int) -> dict[str, Any]:
    """Return what makes an answer another than the run's own result: {name: value used}, {} for its own."""
    saved, changed = read_config(net.workdir), net.changed()
    if split != saved.data.test_split:
        changed["split"] = split
    if views != saved.evaluate.views:
        changed["views"] = views
    return changed


def _file_name(answer: dict[str, Any]) -> str:
    if "members" in answer:
        return layout.ENSEMBLE
    return layout.OTHER_EVALUATION if answer["changed"] else layout.EVALUATION


def by_class(averages: metrics.Averages, class_names: Sequence[str]) -> dict[str, Any]:
    """Return `mean_class_error` and `classes`, as `evaluate` returns them."""
    classes = {
        name: {"examples": examples, "top1_error": wrong / examples}
        for name, (examples, wrong) in zip(class_names, averages.by_class, strict=False)
        if examples
    }
    errors = [row["top1_error"] for row in classes.values()]
    return {"mean_class_error": sum(errors) / len(errors), "classes": classes}


def _errors(averages: metrics.Averages) -> dict[str, float]:
    return {"loss": averages.loss, "top1_error": averages.top1_error, "top5_error": averages.top5_error}


def as_text(answer: dict[str, Any]) -> str:
    """Return lines for the user: members of an ensemble, the classes with most errors, and a line for all."""
    views = "ten views" if answer["views"] == 10 else "the centre view"
    members = answer.get("members", [])
    nets = f" of {len(members)} nets" if members else ""
    lines = [f"{_line(member)}  {member['checkpoint']}" for member in members]
    classes = sorted(answer["classes"].items(), key=lambda item: (-item[1]["top1_error"], item[0]))
    for name, row in classes[:MAX_CLASSES_SHOWN]:
        lines.append(f"{1 - row['top1_error']:>6.1%} right of {row['examples']:,}  {printable(name)}")
    if len(classes) > MAX_CLASSES_SHOWN:
        more = len(classes) - MAX_CLASSES_SHOWN
        lines.append(f"  (and {more} classes with fewer errors; --json has all)")
    lines.append(
        f"{answer['dataset']} {answer['split']}, {answer['examples']:,} images, {views}{nets}: "
        f"{_line(answer)}, mean over classes {answer['mean_class_error']:.2%}"
    )
    if answer["changed"] and not members:
        changed = ", ".join(f"{key}={printable(str(value))}" for key, value in answer["changed"].items())
        lines.append(
            f"not the run's own result, since {changed}: written to {layout.OTHER_EVALUATION}, and "
            f"{layout.EVALUATION} stays as it is"
        )
    return "\n".join(lines)


def _line(errors: dict[str, Any]) -> str:
    return (
        f"top-1 error {errors['top1_error']:.2%}, top-5 error {errors['top5_error']:.2%}, "
        f"loss {errors['loss']:.4f}"
    )
