"""The figure of `benchmark step`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from alexnet_jax import drawing
from alexnet_jax.benchmark.timing import UNIT, Row


@drawing.default_style()
def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw images a second and the peers', and where a step's layers spend their time.

    Args:
      rows: of `step.measure`.
      path: a .png or .svg.
    """
    speeds = [row for row in rows if row["unit"] == UNIT]
    layers: dict[str, dict[str, float]] = {}
    for row in rows:
        part = row["name"].split(".")
        if part[1] == "layer":
            layers.setdefault(part[2], {})[part[3]] = row["median"]
    figure = Figure(figsize=(9, 1.2 + 0.3 * (2 * len(speeds) + len(layers))), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(2 * len(speeds) + 2, len(layers) + 2))
    bars: dict[str, tuple[float, str]] = {}
    for row in speeds:
        what, batch = row["name"].split(".")[1:3]
        what = {"train": "training step"}.get(what, what)
        bars[f"{what}, this program"] = (row["median"], "tab:blue")
        if row["peer"]:
            bars[f"{what}, {row['peer']}"] = (row["peer_median"], "tab:gray")
    above.barh(list(bars), [v for v, _ in bars.values()], color=[c for _, c in bars.values()])
    above.invert_yaxis()
    above.set_xlabel(f"images a second, batch of {batch[1:]}")
    above.set_title(speeds[0]["device"], fontsize=9)
    left = np.zeros(len(layers))
    for what in ("forward", "gradient"):
        values = np.asarray([each.get(what, 0.0) for each in layers.values()])
        below.barh(list(layers), values, left=left, label=what)
        left += values
    below.invert_yaxis()
    below.set_xlabel("milliseconds of a layer, compiled alone")
    below.legend()
    figure.savefig(path)
