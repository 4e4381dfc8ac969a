"""Runs small enough for a test."""

import json
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from configs import digits

STEPS, STOP = 12, 5


def epochs(steps: int) -> float:
    """Return `steps` of the small run in epochs."""
    return steps * 32 / 1350


def small_digits(folder: str) -> ConfigDict:
    """Return the digits config on the data in `folder`, cut down to 12 steps on a 1x2 mesh."""
    config = digits.get_config()
    config.data.dir = folder
    config.data.batch_size = 32
    config.model.width = 0.0625
    config.train.epochs = epochs(STEPS)
    config.train.log_every_steps = 4
    config.train.flat_loss_steps = 0  # twelve steps teach nothing
    config.schedule.kind, config.schedule.steps = "constant", ()
    config.mesh.data, config.mesh.model = 1, 2
    return config


def forget_provenance(workdir: Path) -> None:
    """Make a run's checkpoints those of an earlier version, which do not record what they were made with."""
    for path in (workdir / "checkpoints").glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        kept = {key: value for key, value in manifest.items() if not key.startswith("provenance")}
        path.write_text(json.dumps(kept, indent=1))


def saved_params(workdir: Path, step: int) -> Any:
    """Return the parameters of a checkpoint, on the host."""
    from alexnet_jax.workdir import trained

    return jax.device_get(trained.load(workdir, trained.read_config(workdir), str(step)).params)


def logged(workdir: Path, tag: str) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics that have a tag."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if tag in line]
