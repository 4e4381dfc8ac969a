"""How fast the verb `features` is against the bare forward pass, and whether its memory stays flat.

The verb reads files, decodes, computes and writes; the peer computes the same layers of one batch that lies
on the device already, over and over. Images are those of a folder, as often as it takes to have 5,000.
"""

import itertools
import resource
import tempfile
import time
from pathlib import Path

import jax

from alexnet_jax import runtime
from alexnet_jax.benchmark import timing
from alexnet_jax.benchmark.timing import UNIT, Row
from alexnet_jax.data import image_files
from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import activations
from alexnet_jax.inference import features
from alexnet_jax.workdir.trained import TrainedNet

IMAGES = 5000
RUNS = 3


def run(net: TrainedNet, source: str, layers: list[str], output: Path) -> None:
    """Measure, print the table and write benchmark.json: `benchmark features`."""
    rows = measure(net, source, layers, output.parent)
    notes = []
    for row in rows:
        peaks = (f"{peak['mb']:,.0f} MB at {peak['images']:,}" for peak in row["peak_memory"])
        notes.append(f"peak memory: {', '.join(peaks)} images")
    timing.report(output, rows, notes)


def measure(
    net: TrainedNet, source: str, layers: list[str], folder: Path, images: int = IMAGES, runs: int = RUNS
) -> list[Row]:
    """Measure the verb and the forward pass.

    Args:
      net: the net.
      source: a folder of images.
      layers: whose values to write; empty: the one that stands for an image.
      folder: where the verb writes while it is measured.
      images: in a run.
      runs: counted runs of each, alternating.

    Returns:
      One object of benchmark.json: features.vs_forward, with `peak_memory` of the process after a tenth of
      the images, after half and after all of them, before the alternating runs.

    Raises:
      UsageError: no images in `source`, or an unknown layer.
    """
    if not source:
        raise UsageError("benchmark features needs --source=FOLDER with images")
    files = image_files.find_images([source], "benchmark features")
    files = list(itertools.islice(itertools.cycle(files), images))
    layers = layers or [activations.embedding_layer(net.architecture)]
    activations.shapes_of(net.architecture, layers)

    def verb(count: int = images) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as output:
            started = time.perf_counter()
            features.features(net, files[:count], layers, f"{output}/features.npz")
            return count / (time.perf_counter() - started)

    peaks = []
    for count in (images // 10, images // 2, images):
        verb(count)
        peaks.append({"images": count, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})
    size = activations.rows_at_once(net, net.config.evaluate.batch_size, images)
    first = next(image_files.decode_batches(files[:size], net.config.data, size))
    batch = activations.on_mesh(net, first.images)
    compute = activations.program(net, layers)

    def forward() -> float:
        started = time.perf_counter()
        for _ in range(max(images // size, 1)):
            jax.block_until_ready(compute(batch))
        return max(images // size, 1) * size / (time.perf_counter() - started)

    rates = timing.alternate("benchmark features", {"features": verb, "forward": forward}, runs)
    peer = f"forward pass alone to {', '.join(layers)}, batches of {size}"
    device = f"{jax.devices()[0].device_kind}, {runtime.host()}"
    where = timing.measured_on(device, "jax", "jaxlib", "flax", "numpy", "pillow")
    row = timing.row(where, "features.vs_forward", UNIT, rates["features"], peer, rates["forward"])
    return [row | {"images": images, "files": len(files), "layers": layers, "peak_memory": peaks}]
