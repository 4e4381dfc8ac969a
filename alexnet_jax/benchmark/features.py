"""How fast the verb `features` is against the bare forward pass, and whether its memory stays flat.

The verb reads files, decodes, computes and writes; the peer computes the same layers of one batch that lies
on the device already, over and over. Pictures are those of a folder, as often as it takes to have 5,000.
"""

import itertools
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from alexnet_jax.benchmark import timing
from alexnet_jax.errors import UsageError
from alexnet_jax.inference import features, reading
from alexnet_jax.inference.run import Run

PICTURES = 5000
RUNS = 3


def run(trained: Run, source: str, layers: list[str], output: Path) -> None:
    """`benchmark features`: measures, prints the table, writes benchmark.json."""
    rows = measure(trained, source, layers, output.parent)
    timing.write(output, rows)
    print(timing.table(rows))
    for row in rows:
        peaks = (f"{peak['mb']:,.0f} MB at {peak['pictures']:,}" for peak in row["peak_memory"])
        print(f"peak memory: {', '.join(peaks)} pictures")
    print(f"written to {output}")


def measure(
    trained: Run, source: str, layers: list[str], folder: Path, pictures: int = PICTURES, runs: int = RUNS
) -> list[dict[str, Any]]:
    """Rates of the verb and of the forward pass.

    Args:
      trained: the net.
      source: a folder of pictures.
      layers: whose values to write; empty: the one that stands for a picture.
      folder: where the verb writes while it is measured.
      pictures: in a run.
      runs: counted runs of each, alternating.

    Returns:
      One object of benchmark.json: features.vs_forward, with `peak_memory` of the process after a tenth of
      the pictures, after half and after all of them, before the alternating runs.

    Raises:
      UsageError: no pictures in `source`, or an unknown layer.
    """
    if not source:
        raise UsageError("benchmark features needs --source=FOLDER with pictures")
    found = reading.find([source], "benchmark features")
    files = list(itertools.islice(itertools.cycle(found), pictures))
    layers = layers or [features.deepest(trained.architecture)]
    features.shapes_of(trained.architecture, layers)

    def verb(count: int = pictures) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            started = time.perf_counter()
            features.features(trained, files[:count], layers, f"{place}/features.npz")
            return count / (time.perf_counter() - started)

    peaks = []
    for count in (pictures // 10, pictures // 2, pictures):
        verb(count)
        peaks.append({"pictures": count, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})
    size = features.batch_size(trained, pictures)
    batch = features.placed(trained, next(reading.batches(files[:size], trained.config.data, size)).images)
    compute = features.program(trained, layers)

    def forward() -> float:
        started = time.perf_counter()
        for _ in range(max(pictures // size, 1)):
            jax.block_until_ready(compute(batch))
        return max(pictures // size, 1) * size / (time.perf_counter() - started)

    rates = timing.alternate("benchmark features", {"features": verb, "forward": forward}, runs)
    peer = f"forward pass alone to {', '.join(layers)}, batches of {size}"
    versions = timing.versions("jax", "jaxlib", "flax", "numpy", "pillow")
    row = timing.row(
        "features.vs_forward",
        "images/s",
        rates["features"],
        peer,
        rates["forward"],
        f"{jax.devices()[0].device_kind}, {timing.host()}",
        versions,
    )
    return [row | {"pictures": pictures, "files": len(found), "layers": layers, "peak_memory": peaks}]
