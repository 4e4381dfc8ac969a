"""Measures fine-tuning with few images a class: the rows, the table and the figure of docs/fine_tuning.md.

  python launch/few_images.py FOLDER [Caltech-101] [CIFAR-10] [--rule] [--rows=FILE]
  python launch/few_images.py --figure=docs/fine_tuning.svg [--rows=FILE]

$ALEXNET_DATA holds caltech101_30.tar.xz, cifar10.tar.xz and torchvision_alexnet_features.npz. FOLDER takes
what is made of them: the images that are drawn, prepared once, and the values of the deepest layer for all of
them, computed once by what `train` computes them with. On the rows of each draw the head then trains by the
update rule, the schedule and the batches of configs/finetune.py, or is fitted as by configs/linear_probe.py;
the nearest image is found by the distance of `similar`. A row of docs/few_images.jsonl is written as each
ends, and what has one is not measured again. --rule measures other numbers of updates and other learning
rates, too. --figure draws what the rows hold, and prints the tables.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package of this folder, whichever is installed

from alexnet_jax import drawing, files, runtime  # noqa: E402
from alexnet_jax.config import find, resolve  # noqa: E402
from alexnet_jax.evaluation.metrics import Averages  # noqa: E402
from alexnet_jax.inference import similar  # noqa: E402
from alexnet_jax.inference.evaluate import by_class  # noqa: E402
from alexnet_jax.model import inputs, network, sharding  # noqa: E402
from alexnet_jax.progress import Progress  # noqa: E402
from alexnet_jax.training import (  # noqa: E402
    dispatch,
    linear_probe,
    optimizer,
    resident,
    setup,
    step,
    stored_values,
    warm_start,
)

SEEDS = (1, 2, 3)
TEST_SEED = 0  # draws the images to test on where they are too many
METHODS = {
    "finetune": "`configs/finetune.py`",
    "linear_probe": "`configs/linear_probe.py`",
    "nearest": "the nearest image, `similar`",
}
# Updates and learning rate; between them stands what configs/finetune.py does.
OTHER_RULES = ((300, 0.001), (3000, 0.001), (1000, 0.0003), (1000, 0.003))
ROWS = ROOT / "docs" / "few_images.jsonl"
# Of docs/RESULTS.md, with 30 images a class and no trained weights.
FROM_SCRATCH_SOURCE = "Caltech-101"
FROM_SCRATCH = {"torchvision's net": 0.115, "the paper's at 1/8 width": 0.315}


@dataclass(frozen=True)
class Source:
    """Say what is measured with an archive of train/CLASS/FILE and test/CLASS/FILE.

    Attributes:
      archive: its name.
      parts: numbers of images a class that train, ascending; those of a part are prepared together.
      test_images: of each class, that are tested; 0: all.
      rule_sizes: the numbers at which `--rule` compares rules.
    """

    archive: str
    parts: tuple[tuple[int, ...], ...]
    test_images: int
    rule_sizes: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """All numbers of images a class."""
        return tuple(size for part in self.parts for size in part)

    def dataset(self, part: Sequence[int]) -> str:
        """Return the name of the dataset that is prepared for a part."""
        return self.archive.partition(".")[0] + (f"_{part[-1]}" if len(self.parts) > 1 else "")


SOURCES = {
    "Caltech-101": Source("caltech101_30.tar.xz", ((5, 10, 20, 30),), 0, (5, 30)),
    "CIFAR-10": Source("cifar10.tar.xz", ((100,), (500,)), 200, (100,)),
}


@dataclass(frozen=True)
class Values:
    """Hold the values of all images, and the run whose part each measurement is.

    Attributes:
      run: of all images; its validation split is the test images.
      given: its config before batch and epochs were fitted to the number of images.
      train, test: the values.
      files: of the images that train, CLASS/FILE, in the order of the values.
    """

    run: setup.RunSetup
    given: Any
    train: resident.Resident
    test: resident.Resident
    files: tuple[str, ...]


def drawn(names: Iterable[str], images: int, seed: int) -> set[str]:
    """Return as many of CLASS/FILE of each class, all of them for 0; a larger draw holds the smaller ones."""
    classes: dict[str, list[str]] = {}
    for name in sorted(names):
        classes.setdefault(name.split("/")[0], []).append(name)
    generator = np.random.RandomState(seed)
    orders = [generator.permutation(each) for _, each in sorted(classes.items())]
    if any(len(order) < images for order in orders):
        raise SystemExit(f"a class has fewer than {images} images")
    return {str(name) for order in orders for name in order[: images or None]}


def extract(source: Source, part: Sequence[int], folder: Path) -> Path:
    """Write the images that any seed draws for a part, and those to test on, below `folder`; return where."""
    target, archive = folder / source.dataset(part), Path(os.environ["ALEXNET_DATA"]) / source.archive
    if target.is_dir():
        return target
    with tarfile.open(archive) as tar:
        names = [member.name.removeprefix("./") for member in tar if member.isfile()]
    train, test = ([n.partition("/")[2] for n in names if n.startswith(s)] for s in ("train/", "test/"))
    wanted = {f"test/{name}" for name in drawn(test, source.test_images, TEST_SEED)}
    for seed in SEEDS:
        wanted |= {f"train/{name}" for name in drawn(train, part[-1], seed)}
    partial = folder / f"{target.name}.partial"
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.removeprefix("./") in wanted:
                tar.extract(member, partial, filter="data")
    partial.rename(target)
    return target


def program(*words: str) -> None:
    """Run the program; end with its exit code where it fails."""
    done = subprocess.run([sys.executable, "-m", "alexnet_jax.main", *words], cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.returncode)


def config_of(method: str, dataset: str, folder: Path) -> Any:
    """Return the config of a method for all drawn images: those to test on are in the place of validation."""
    config = find.load_file(f"configs/{method}.py")
    config.data.name, config.data.dir = dataset, str(folder / "data")
    config.data.validation_split = "test"
    config.mesh.data = 1  # one device: a batch may have fewer images than there are
    config.train.init_from = str(folder / "torchvision")
    return warm_start.resolve_probe(config, folder / "none")


def values_of(source: Source, part: Sequence[int], folder: Path) -> Values:
    """Prepare the images of a part and compute their values, each once; later calls read them."""
    if not (folder / "torchvision").is_dir():
        weights = Path(os.environ["ALEXNET_DATA"]) / "torchvision_alexnet_features.npz"
        program("convert", str(weights), f"--output={folder / 'torchvision'}")
    images = extract(source, part, folder / "images")
    flags = f"--source={images}", f"--config.data.dir={folder / 'data'}"
    program("prepare", "--config=configs/finetune.py", *flags)
    given = config_of("finetune", images.name, folder)
    run = setup.prepare_run(given)
    records = run.dataset.records("train")
    names = tuple(records.read(row)[2] for row in range(len(records)))
    kept = folder / f"{images.name}.npz"
    if not kept.is_file():
        layer, params, mean = start_of(run)
        rules = optimizer.layer_rules(run.architecture, run.config.optimizer, run.config.schedule)
        plan = stored_values.plan(run, rules, resident.room(run.mesh))
        assert plan is not None
        assert plan.layer == layer
        both = stored_values.compute(run, program_of(run, rules), params, mean, plan)
        assert both is not None
        parts = dict(zip(("train", "test"), both, strict=True))
        with files.atomic_write(kept) as file:
            np.savez(file, **{f"{k}_{what}": getattr(v, what) for k, v in parts.items() for what in WHAT})
    with np.load(kept) as found:
        train, test = (place(run, *(found[f"{part}_{what}"] for what in WHAT)) for part in ("train", "test"))
    return Values(run, given, train, test, names)


WHAT = ("data", "labels")


def place(run: setup.RunSetup, values: np.ndarray, labels: np.ndarray) -> resident.Resident:
    """Return values on the mesh of a run."""
    return resident.Resident(run, "values", *sharding.replicate((values, labels), run.mesh))


def start_of(run: setup.RunSetup) -> tuple[str, Any, jax.Array]:
    """Return the layer whose values are kept, a run's first parameters, and its mean on the mesh."""
    initial = warm_start.open_initial(run.config, run.architecture)
    drawn_params = network.init_params(run.architecture, run.config.seed, run.mesh)
    params = initial.params(drawn_params, run.architecture, run.mesh)
    form, found = normalization(run), initial.statistics
    mean = inputs.mean_array(form, found.mean, found.rgb_mean, run.architecture.crop)
    layers = [layer.name for layer in run.architecture.layers]
    return layers[layers.index(run.architecture.logits) - 1], params, sharding.replicate(mean, run.mesh)


def normalization(run: setup.RunSetup) -> inputs.Normalization:
    """Return what a run does to images."""
    return inputs.Normalization(run.config.data.mean, run.config.data.input_std)


def program_of(run: setup.RunSetup, rules: Mapping[str, Any], layer: str = "") -> step.Program:
    """Return a run's program, from the values of a layer or, for '', from images."""
    rule, frozen = optimizer.update_rule(rules, run.config.optimizer), optimizer.frozen_layers(rules, 0.0)
    form, seed = normalization(run), run.config.seed
    return step.Program(run.architecture, run.mesh, form, rule, seed, frozen=frozen, start=layer)


def part_of(whole: Values, given: Any, rows: np.ndarray, seed: int) -> setup.RunSetup:
    """Return the run on the images of `rows`, by a config before it was fitted to their number."""
    changes = {"seed": seed, "model.classes": whole.run.config.model.classes}
    config = resolve.sized(resolve.replace(given, changes), len(rows))
    steps = resolve.total_steps(config, len(rows))
    return replace(whole.run, config=config, train_images=len(rows), total_steps=steps)


def finetune(whole: Values, given: Any, rows: np.ndarray, seed: int) -> tuple[Averages, dict[str, Any]]:
    """Train the head by SGD on the values of some images, as `train` does; test it."""
    run = part_of(whole, given, rows, seed)
    rules = optimizer.layer_rules(run.architecture, run.config.optimizer, run.config.schedule)
    layer, params, mean = start_of(run)
    of_values = program_of(run, rules, layer)
    state = step.init_state(of_values, params)
    update = step.compiled_train_step(of_values, state)
    stored = place(run, np.asarray(whole.train.data)[rows], np.asarray(whole.train.labels)[rows])
    dispatches = dispatch.Dispatches(run, rules, most=1)
    for number, batch in enumerate(stored.training_batches(dispatches, 0)):
        rates = optimizer.learning_rates(rules, run.config, optimizer.PlateauState(), run.epoch(number))
        state, _ = update(state, batch, mean, sharding.replicate(rates, run.mesh))
    how = {"updates": run.total_steps, "learning_rate": run.config.schedule.learning_rate}
    return tested(whole, of_values, state.params), how


def probe(whole: Values, given: Any, rows: np.ndarray, seed: int) -> tuple[Averages, dict[str, Any]]:
    """Fit the head to the values of some images, as `train` does; test it."""
    run = part_of(whole, given, rows, seed)
    rules = optimizer.layer_rules(run.architecture, run.config.optimizer, run.config.schedule)
    layer, params, _ = start_of(run)
    stored = place(run, np.asarray(whole.train.data)[rows], np.asarray(whole.train.labels)[rows])
    with Progress("fit", 1, "runs") as progress:
        fitted = linear_probe.fit_last_layer(run, stored, lambda: False, progress)
        progress.update(1)
    assert fitted is not None
    params = {**params, run.architecture.logits: sharding.replicate(fitted[0], run.mesh)}
    return tested(whole, program_of(run, rules, layer), params), {"weight_decay": fitted[1]["weight_decay"]}


def tested(whole: Values, of_values: step.Program, params: Any) -> Averages:
    """Return the errors on the test images."""
    averages = whole.test.evaluate(stored_values.predictor(of_values, params), 64, lambda: False)
    assert averages is not None
    return averages[0]


def nearest(whole: Values, rows: np.ndarray) -> Averages:
    """Take each test image for what the nearest of some images is, by the distance of `similar`."""
    vectors, queries = (
        np.asarray(part.data).reshape(len(part.labels), -1).astype(similar.DTYPES["vectors"])
        for part in (whole.train, whole.test)
    )
    _, which = similar.nearest(vectors[rows], queries, 1)
    labels = np.asarray(whole.test.labels)
    wrong = np.asarray(whole.train.labels)[rows][which[:, 0]] != labels
    count = len(whole.run.dataset.class_names)
    classes = [(int((labels == c).sum()), int(wrong[labels == c].sum())) for c in range(count)]
    return Averages(float("nan"), float(wrong.mean()), float("nan"), len(wrong), tuple(classes))


@dataclass(frozen=True)
class Task:
    """Say what one row measures.

    Attributes:
      source: of `SOURCES`.
      images_per_class: that train.
      seed: draws them, and is `config.seed`.
      method: of `METHODS`, or 'other_rule'.
      updates, learning_rate: of 'other_rule'; 0 elsewhere.
    """

    source: str
    images_per_class: int
    seed: int
    method: str
    updates: int = 0
    learning_rate: float = 0.0


def tasks(name: str, part: Sequence[int], rule: bool) -> Iterator[Task]:
    """Yield what is measured with a part of a source, the quick ones first."""
    for method in ("nearest", "finetune"):
        yield from (Task(name, size, seed, method) for size in part for seed in SEEDS)
    for size in SOURCES[name].rule_sizes if rule else ():
        for seed in SEEDS if size in part else ():
            yield from (Task(name, size, seed, "other_rule", *other) for other in OTHER_RULES)
    yield from (Task(name, size, seed, "linear_probe") for size in part for seed in SEEDS)


def given_of(whole: Values, task: Task, images: int) -> Any:
    """Return the config of a row, before batch and epochs are fitted to the number of images."""
    if not task.updates:
        return whole.given
    epochs = task.updates / images  # fewer than the updates need, whatever the batch is
    length = {"train.epochs": epochs, "train.min_steps": task.updates}
    return resolve.replace(whole.given, length | {"schedule.learning_rate": task.learning_rate})


def measure(task: Task, whole: Values, folder: Path) -> dict[str, Any]:
    """Return the row of a task."""
    chosen = drawn(whole.files, task.images_per_class, task.seed)
    rows = np.flatnonzero([name in chosen for name in whole.files])
    how: dict[str, Any] = {}
    if task.method == "nearest":
        averages = nearest(whole, rows)
    elif task.method == "linear_probe":
        given = config_of("linear_probe", whole.given.data.name, folder)
        averages, how = probe(whole, given, rows, task.seed)
    else:
        averages, how = finetune(whole, given_of(whole, task, len(rows)), rows, task.seed)
    return {
        **vars(task),
        "how": how,
        "mean_class_error": by_class(averages, whole.run.dataset.class_names)["mean_class_error"],
        "top1_error": averages.top1_error,
        "train_images": len(rows),
        "test_images": averages.count,
        "hardware": runtime.host(),
        "versions": runtime.versions("jax", "jaxlib", "flax"),
    }


def read_rows(path: Path) -> dict[Task, dict[str, Any]]:
    """Return the rows of a file by what they measure; none where it is not there."""
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines]
    names = Task.__dataclass_fields__
    return {Task(**{name: row[name] for name in names}): row for row in rows}


def right(rows: Mapping[Task, Mapping[str, Any]], **asked: Any) -> list[float]:
    """Return the share that is right, the mean over classes, of the rows that are as asked."""
    return [
        1 - row["mean_class_error"]
        for task, row in rows.items()
        if all(getattr(task, name) == value for name, value in asked.items())
    ]


def cell(found: Sequence[float]) -> str:
    """Return the mean and the range as text, and of how many seeds where some are missing."""
    if not found:
        return "not measured"
    notes = [f"{min(found) * 100:.1f} to {max(found) * 100:.1f}"] if len(found) > 1 else []
    notes += [f"{len(found)} of {len(SEEDS)} seeds"] if len(found) < len(SEEDS) else []
    return f"{statistics.mean(found) * 100:.1f} % ({', '.join(notes)})"


def tables(rows: Mapping[Task, Mapping[str, Any]]) -> str:
    """Return the table of the methods, and that of other rules, as Markdown."""
    lines = [f"| images a class | {' | '.join(METHODS.values())} |", "|---" * (len(METHODS) + 1) + "|"]
    for name, source in SOURCES.items():
        for size in source.sizes:
            asked = {"source": name, "images_per_class": size}
            cells = [cell(right(rows, method=method, **asked)) for method in METHODS]
            lines.append(f"| {name}, {size} | {' | '.join(cells)} |")
    heads = [f"{updates:,} updates, {rate:g}" for updates, rate in OTHER_RULES]
    lines += ["", f"| images a class | the config's | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
    for name, source in SOURCES.items():
        for size in source.rule_sizes:
            asked = {"source": name, "images_per_class": size}
            cells = [cell(right(rows, method="finetune", **asked))]
            cells += [cell(right(rows, updates=n, learning_rate=rate, **asked)) for n, rate in OTHER_RULES]
            lines.append(f"| {name}, {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


@drawing.default_style()
def draw(rows: Mapping[Task, Mapping[str, Any]], path: Path) -> None:
    """Draw the share that is right against the number of images a class: mean and range over seeds."""
    from matplotlib.figure import Figure

    from alexnet_jax.report import figures

    figure = Figure(figsize=(9, 4), layout="constrained")
    for panel, (name, source) in zip(figure.subplots(1, len(SOURCES)), SOURCES.items(), strict=True):
        for colour, (method, label) in zip(figures.COLOURS, METHODS.items(), strict=False):
            found = {n: right(rows, source=name, images_per_class=n, method=method) for n in source.sizes}
            found = {size: shares for size, shares in found.items() if shares}
            if not found:
                continue
            means = np.array([statistics.mean(shares) for shares in found.values()])
            ends = np.array([(min(shares), max(shares)) for shares in found.values()]).T
            panel.errorbar(
                list(found),
                means,
                abs(ends - means),
                marker="o",
                markersize=4,
                capsize=3,
                color=colour,
                label=label.replace("`", ""),
            )
        if name == FROM_SCRATCH_SOURCE:
            for marker, (net, share) in zip("sD", FROM_SCRATCH.items(), strict=True):
                label = f"from scratch, {net}"
                panel.plot([30], [share], marker, color=figures.GREY, markersize=5, label=label)
        panel.set_xscale("log")
        panel.set_xticks(source.sizes, [str(size) for size in source.sizes])
        panel.minorticks_off()
        panel.set_ylim(0, 1)
        panel.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        panel.set_xlabel(f"images a class, {name}")
        panel.set_ylabel("right, mean over classes")
        panel.grid(color=figures.GRID, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8, loc="lower left" if name != FROM_SCRATCH_SOURCE else "best")
    path.write_bytes(drawing.encode(figure, path.suffix.lstrip(".")))


def main(arguments: list[str]) -> int:
    """Measure what has no row, or draw; return the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1], add_help=False)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--rule", action="store_true")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args(arguments)
    if bool(given.folder) == bool(given.figure):
        parser.error("name a folder to measure in, or --figure=FILE to draw")
    if unknown := set(given.sources) - SOURCES.keys():
        parser.error(f"{', '.join(unknown)}: measured are {' and '.join(SOURCES)}")
    rows = read_rows(given.rows)
    if given.figure:
        draw(rows, given.figure)
        print(tables(rows))
        return 0
    if not os.environ.get("ALEXNET_DATA"):
        parser.error("ALEXNET_DATA names no folder: it holds the archives and the weights")
    folder = Path(given.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in given.sources or SOURCES:
        for part in SOURCES[name].parts:
            missing = [task for task in tasks(name, part, given.rule) if task not in rows]
            whole = values_of(SOURCES[name], part, folder) if missing else None
            for task in missing:
                row = json.dumps(measure(task, whole, folder))
                with given.rows.open("a") as file:
                    file.write(row + "\n")
                print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
