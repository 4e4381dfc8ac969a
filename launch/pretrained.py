"""Makes the nets that come along in the package: trains each with some seeds, writes seed 1's and its card.

  python launch/pretrained.py FOLDER [--seeds=N] [NAME ...]

Each of the four takes ten minutes to an hour on two cores. FOLDER/data holds the datasets, prepared before
(`prepare` with the config and --config.data.dir=FOLDER/data), FOLDER/runs takes the runs; a run that was
interrupted is resumed, one that is there is used. The file in alexnet_jax/pretrained/ is that of seed 1,
whichever seed did best, rounded to float16; the card gives its error as it is evaluated from that file, and
the errors of all seeds, whose runs become rows of docs/RESULTS.md.
"""

import hashlib
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "alexnet_jax" / "pretrained"
WIDE = ("data.train_split=train", "schedule.steps=((19,0.001),)", "train.epochs=24.0", "model.width=0.1875")
NETS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "cifar10": ("cuda-convnet's 26 % net on CIFAR-10", "cifar10", "CIFAR-10 as a folder of JPEGs", ()),
    "cifar10_alexnet": (
        "a two-tower AlexNet on CIFAR-10, 3/16 of the paper's width",
        "cifar10_alexnet",
        "CIFAR-10 as a folder of JPEGs, enlarged to 72 x 72",
        WIDE,
    ),
    "digits": (
        "a two-tower AlexNet on 8 x 8 handwritten digits",
        "digits",
        "scikit-learn's digits, enlarged to 72 x 72",
        ("schedule.learning_rate=0.01", "schedule.steps=((50, 0.001),)", "train.epochs=60.0"),
    ),
    "mnist": ("convolutions on MNIST", "mnist_convolutional", "MNIST's IDX files", ()),
}


def main(arguments: list[str]) -> int:
    """Make the nets that are named, or all; return the exit code."""
    seeds = next((a.partition("=")[2] for a in arguments if a.startswith("--seeds=")), "3")
    folder, *names = [a for a in arguments if not a.startswith("--seeds=")] or [""]
    if not folder or set(names) - NETS.keys() or not seeds.isdecimal() or int(seeds) < 2:
        print(
            f"type launch/pretrained.py FOLDER [--seeds=N] [{'|'.join(NETS)} ...]; N: 2 or more",
            file=sys.stderr,
        )
        return 2
    file = PACKAGE / "cards.json"
    cards = json.loads(file.read_text()) if file.exists() else {}
    for name in names or NETS:
        cards[name] = make(name, Path(folder).resolve(), range(1, int(seeds) + 1))
        file.write_text(json.dumps({each: cards[each] for each in NETS if each in cards}, indent=2) + "\n")
    return 0


def make(name: str, folder: Path, seeds: range) -> dict[str, object]:
    """Train a net, write its file, and return its card."""
    title, config, data, changes = NETS[name]
    where = f"--config.data.dir={folder / 'data'}"
    flags = [f"--config=configs/{config}.py", *(f"--config.{change}" for change in changes)]
    found = []
    for seed in seeds:
        workdir = folder / "runs" / f"{name}-{seed}"
        program(*flags, f"--config.seed={seed}", where, f"--workdir={workdir}")
        found.append(evaluate(workdir, where))
        program("report", "--results", f"--workdir={workdir}")
    file = PACKAGE / f"{name}.safetensors"
    program("convert", str(folder / "runs" / f"{name}-1"), f"--output={file}", "--half")
    with tempfile.TemporaryDirectory() as temporary:
        workdir = Path(temporary) / name
        program("convert", str(file), f"--output={workdir}")
        answer = evaluate(workdir, where)
    errors = [each["top1_error"] for each in found]
    command = shlex.join(["python", "-m", "alexnet_jax.main", *flags, "--config.seed=1"])
    return {
        "title": title,
        "config": f"configs/{config}.py",
        "command": command,
        "data": data,
        "split": answer["split"],
        "images": answer["examples"],
        "views": answer["views"],
        "top1_error": answer["top1_error"],
        "top1_error_of_seeds": dict(zip(map(str, seeds), errors, strict=True)),
        "mean": round(statistics.mean(errors), 6),
        "standard_deviation": round(statistics.stdev(errors), 6),
        "date": date.today().isoformat(),
        "license": "Apache-2.0",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def evaluate(workdir: Path, where: str) -> dict[str, float]:
    """Return the evaluation of a net on the test split."""
    program("evaluate", f"--workdir={workdir}", where)
    answer: dict[str, float] = json.loads((workdir / "evaluation.json").read_text())
    return answer


def program(*words: str) -> None:
    """Run the program; end with its exit code where it fails."""
    done = subprocess.run([sys.executable, "-m", "alexnet_jax.main", *words], cwd=PACKAGE.parents[1])
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
