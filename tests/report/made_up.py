"""The files of runs, and what would be computed of a net, without one."""

import json
from pathlib import Path

import numpy as np

from alexnet_jax.config import io
from alexnet_jax.inference import patches
from alexnet_jax.inference import report_data as f
from configs import cifar10

HOSTILE = (
    "<script>document.title = 'taken'</script>",
    '"><img src=x onerror="document.title=\'taken\'">',
    "x" * 5000,
    "\u202egpj.exe \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "",
    "$\\frac{1}{0}$ {{ 7 * 7 }} &amp; \x00\x1b[31m",
    "]]>-->",
)


def write_run(workdir: Path, names: tuple[str, ...] = HOSTILE, hostile: bool = True) -> Path:
    """Write the files of a run whose metrics are partly nonsense."""
    workdir.mkdir(parents=True)
    config = cifar10.get_config()
    io.save(
        workdir / "config.json",
        config,
        class_names=list(names),
        statistics="statistics.npz",
        hardware=names[0],
        versions={"jax": "0.10.2"},
    )
    lines = [
        json.dumps(
            {
                "step": 100 * n,
                "epoch": n / 2,
                "train/loss": 2.0 / n,
                "train/top1_error": 0.9 / n,
                "train/top5_error": 0.5 / n,
                "learning_rate": 0.01 if n < 6 else 0.001,
                "perf/images_per_second": 100.0 + n,
            }
        )
        for n in range(1, 11)
    ]
    lines += [json.dumps({"step": 900 + n, "epoch": 1.0 * n, "val/top1_error": 0.95 / n}) for n in (1, 2, 3)]
    if hostile:
        lines += [
            '{"step": 5, "epoch": 6, "train/loss": NaN, "train/top1_error": "<b>", "learning_rate": null}',
            '{"step": "x", "epoch": "y", "val/loss": Infinity}',
            "[1, 2]",
            "not json <script>",
            '{"step": 1e999, "epoch": 1e999}',
            '{"step": 6, "epoch',
        ]
    (workdir / "metrics.jsonl").write_text("\n".join(lines))
    evaluation = {
        "split": names[0],
        "views": 10,
        "examples": 9,
        "top1_error": 0.3,
        "top5_error": float("nan"),
    }
    (workdir / "evaluation.json").write_text(json.dumps(evaluation))
    return workdir


def write_finished_run(workdir, seed, top1, change=None, made_by=cifar10):
    """Write the files of a finished run: training error 0.8, 0.4, 0.2 at 200 images/s."""
    config = made_by.get_config()
    config.seed = seed
    for key, value in (change or {}).items():
        section, name = key.split(".")
        config[section][name] = value
    workdir.mkdir()
    io.save(
        workdir / "config.json",
        config,
        class_names=list("abcdefghij"),
        statistics="statistics.npz",
        hardware="a processor, 2 cores",
        versions={"python": "3.11.1", "jax": "0.10.2"},
    )
    lines = [
        {"step": 100 * n, "epoch": float(n), "train/top1_error": error, "learning_rate": 0.001}
        | {"perf/images_per_second": 200.0, "train/loss": loss}
        for n, error, loss in ((1, 0.8, 2.3), (2, 0.4, 2.0), (3, 0.2, 1.0))
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4')
    evaluation = {"split": "test", "views": 1, "examples": 10_000, "top1_error": top1, "top5_error": 0.02}
    (workdir / "evaluation.json").write_text(json.dumps(evaluation))
    return workdir


def report_data(
    names: tuple[str, ...] = HOSTILE, layers: tuple[str, ...] = ("conv1", "conv2")
) -> f.ReportData:
    """Data for every part of the page, with `names` wherever there is one."""
    draw = np.random.default_rng(0)

    def image(number: int) -> f.LabelledImage:
        name = names[number % len(names)]
        pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        return f.LabelledImage(pixels, name, f"{name}/{number}.png")

    def guess(number: int) -> f.Guess:
        values = np.sort(draw.dirichlet(np.ones(5)))[::-1]
        five = tuple((names[(number + n) % len(names)], float(value)) for n, value in enumerate(values))
        return f.Guess(image(number), five)

    def patch(height: int) -> patches.Patch:
        pixels = draw.integers(0, 256, (height, 7, 3), dtype=np.uint8)
        projection = draw.normal(size=(height, 7, 3)).astype(np.float32)
        return patches.Patch(1.0, 0, 0, 0, (0, 0, height, 7), pixels, projection)

    channels = tuple(
        patches.ChannelPatches(layer, number, number // 4, tuple(patch(6 + n % 2) for n in range(9)))
        for layer in layers
        for number in (1, 6)
    )
    matrix = draw.integers(0, 9, (len(names), len(names)))
    return f.ReportData(
        step=1000,
        dataset=names[1],
        parameters=123_456,
        knows_classes=True,
        towers=2,
        kernels=draw.normal(size=(2, 5, 5, 3, 4)).astype(np.float32),
        guesses=tuple(map(guess, range(8))),
        neighbours=tuple(
            f.Neighbours(image(n), tuple((image(n + m), 1.5 * m) for m in range(6))) for n in range(5)
        ),
        layer="fc7 after its ReLU (relu7)",
        distance="euclidean",
        searched=1234,
        confusions=f.Confusions(
            names, matrix, 0.1, tuple(map(guess, range(12))), names[0], int(matrix.sum()) + 7
        ),
        channels=channels,
        looked_at=99,
    )
