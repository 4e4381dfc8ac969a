"""The verb `evaluate`: the errors of a run over a split, with the centre view or the paper's ten."""

import json
import time
from typing import Any

from alexnet_jax import files
from alexnet_jax.data import pipeline
from alexnet_jax.inference.run import Run
from alexnet_jax.training import evaluation, loop


def evaluate(run: Run, split: str, views: int) -> dict[str, Any]:
    """Evaluates `run` and writes `evaluation.json` into its workdir.

    Args:
      run: what `run.load` gave.
      split: a TFDS split, '' for the config's test split.
      views: 1 or 10.

    Returns:
      What was written: `dataset`, `split`, `views`, `examples`, `loss`, `top1_error`, `top5_error`
      (fractions), `checkpoints`, `seconds`.
    """
    config = run.config
    dataset = pipeline.open_dataset(config.data)
    loop.check_classes(len(dataset.class_names), config, str(dataset.folder))
    split = split or config.data.test_split
    started = time.monotonic()
    averages = evaluation.evaluate_split(dataset, config, run.mesh, split, [run.predictor(views)])
    assert averages is not None
    found = averages[-1]
    answer = {
        "dataset": dataset.folder.parent.name,
        "split": split,
        "views": views,
        "examples": found.count,
        "loss": found.loss,
        "top1_error": found.top1_error,
        "top5_error": found.top5_error,
        "checkpoints": [f"{run.workdir}/checkpoints/{run.step}"],
        "seconds": time.monotonic() - started,
    }
    files.write_text(run.workdir / "evaluation.json", json.dumps(answer, indent=1) + "\n")
    return answer


def as_text(answer: dict[str, Any]) -> str:
    """One line for a person."""
    views = "ten views" if answer["views"] == 10 else "the centre view"
    return (
        f"{answer['dataset']} {answer['split']}, {answer['examples']:,} pictures, {views}: "
        f"top-1 error {answer['top1_error']:.2%}, top-5 error {answer['top5_error']:.2%}, "
        f"loss {answer['loss']:.4f}"
    )
