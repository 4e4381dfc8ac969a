"""What is doubtful about few or uneven training images, and said before the first step."""

from collections import Counter

from alexnet_jax.evaluation import classes
from alexnet_jax.progress import printable
from alexnet_jax.training.setup import RunSetup
from alexnet_jax.training.stored_values import Plan

MAX_IMAGES_COUNTED = 20_000  # whose labels are read for this: half a second
FEW_STEPS = 100
FEW_IMAGES = 5  # of a class
MAX_IMBALANCE = 10  # images of the largest class for one of the smallest
PROBE_IMAGES = 30  # a class, up to which a linear probe was as good or better (docs/fine_tuning.md)


def notices(setup: RunSetup, plan: Plan | None) -> list[str]:
    """Return lines on a run's updates and classes, none where nothing is doubtful.

    Args:
      setup: the run.
      plan: which values of frozen layers are stored; None: none.
    """
    lines = []
    if setup.total_steps < FEW_STEPS and not setup.fits_at_once:
        lines.append(
            f"the run makes {setup.total_steps} updates, which is little: --config.train.min_steps=1000 "
            "makes it longer, by as many epochs as that takes"
        )
    if setup.train_images <= MAX_IMAGES_COUNTED:
        lines += _on_classes(_counts(setup))
    per_class = setup.train_images / len(setup.dataset.class_names)
    read_by_the_last = plan is not None and plan.layer == setup.architecture.layers[-2].name
    if read_by_the_last and not setup.fits_at_once and per_class <= PROBE_IMAGES:
        lines.append(
            f"with {per_class:.0f} images a class --config=linear_probe, which fits the last layer at once, "
            "is likely to be as good or better"
        )
    return lines


def _counts(setup: RunSetup) -> dict[str, int]:
    """Return how many training images each class has."""
    records = setup.dataset.records(setup.config.data.train_split)
    found = Counter(records.read(index)[1] for index in range(len(records)))
    return {name: found[label] for label, name in enumerate(setup.dataset.class_names)}


def _on_classes(counts: dict[str, int]) -> list[str]:
    lines = []
    few = [f"{name} {count}" for name, count in counts.items() if count < FEW_IMAGES]
    if few:
        lines.append(
            f"fewer than {FEW_IMAGES} training images: {classes.some(few)}; what the net says of such a "
            "class is mostly chance"
        )
    there = {name: count for name, count in counts.items() if count}
    smallest, largest = min(there, key=there.__getitem__), max(there, key=there.__getitem__)
    if counts[largest] > MAX_IMBALANCE * counts[smallest]:
        lines.append(
            f"uneven classes: {largest} has {counts[largest]:,} training images, {smallest} "
            f"{counts[smallest]:,}; the net leans to the large ones, so look at the mean over classes"
        )
    return [printable(line) for line in lines]
