"""The verb on real runs: the digits, trained here, and ImageNet features, converted here."""

import json
import re
import shutil

import numpy as np
import pytest

from alexnet_jax.inference import deconvnet, findings
from alexnet_jax.inference import run as runs
from tests.browser import chromium
from tests.test_main import alexnet as told
from tests.test_real_data import alexnet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits_run(digits_folder, tmp_path_factory):
    """The digits config at a sixteenth of the width, for two epochs."""
    workdir = tmp_path_factory.mktemp("runs") / "two epochs"
    flags = ["--config=configs/digits.py", f"--workdir={workdir}", f"--config.data.dir={digits_folder}"]
    flags += ["--config.model.width=0.0625", "--config.train.epochs=2.0", "--config.train.log_every_steps=5"]
    alexnet(*flags)
    alexnet("evaluate", f"--workdir={workdir}", "--views=10")
    return workdir


def test_report_and_results_of_a_run(digits_run, tmp_path):
    other = tmp_path / "without a checkpoint"
    shutil.copytree(digits_run, other)
    shutil.rmtree(other / "checkpoints")
    flags = [f"--workdir={digits_run}", f"--workdir={other}"]
    out = alexnet("report", *flags)
    assert "not on the page" not in out
    path = digits_run / "report" / "index.html"
    assert path.stat().st_size < 15_000_000
    text = path.read_text()
    evaluation = json.loads((digits_run / "evaluation.json").read_text())
    assert f"top-1 {evaluation['top1_error']:.2%}" in text
    assert "without a checkpoint" in text
    names = {file.name for file in (digits_run / "report" / "figures").iterdir()}
    assert {"curves.svg", "kernels.png", "excites_conv5.svg"} <= names
    assert len(names) == 2 * len(re.findall("<figure>", text)) == 22
    with chromium() as browser:
        browser.open(path, 360)
        assert (browser.console(), browser.requests()) == ([], [path.as_uri()])
        assert browser.run("return document.documentElement.scrollWidth") <= 360
    out = alexnet("report", f"--workdir={other}")
    assert "what excites each layer: " in out
    assert "holds no complete checkpoint" in out
    code, out, errors = told("report", "--results", f"--workdir={digits_run}", cwd=tmp_path)
    assert code == 0, errors
    assert "1 runs of 1 experiments" in out
    page = (tmp_path / "docs" / "RESULTS.md").read_text()
    assert f"| {evaluation['top1_error']:.2%} |" in page
    assert str(tmp_path) not in page
    row = json.loads((tmp_path / "docs" / "results" / "digits.jsonl").read_text())
    assert row["hardware"] == json.loads((digits_run / "config.json").read_text())["hardware"]
    assert row["values"]["top1_error"] == evaluation["top1_error"]


@pytest.fixture(scope="module")
def converted(real_data, tmp_path_factory):
    """ImageNet features as a workdir; a fraction of it is never trained here."""
    workdir = tmp_path_factory.mktemp("converted") / "run"
    source = real_data / "torchvision_alexnet_features.npz"
    alexnet("convert", source, f"--output={workdir}", devices=1)
    return workdir


def test_converted_kernels(converted, real_data):
    found = findings.find(converted, runs.read_config(converted), "best")
    assert set(found.missing) == set(findings.PARTS) - {"kernels"}
    with np.load(real_data / "torchvision_alexnet_features.npz") as arrays:
        np.testing.assert_array_equal(found.kernels[0], arrays["conv1/kernel"])


@pytest.mark.parametrize("layer", ["conv1", "conv3", "conv5"])
def test_converted_projections_equal_torch(layer, converted, real_data):
    """torch's pooling gives the switches, its transposed convolutions the way back."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    functional = torch.nn.functional
    with np.load(real_data / "torchvision_alexnet_features.npz") as file:
        arrays = {name: torch.from_numpy(file[name]).double() for name in file.files if "conv" in name}
    images = np.load(real_data / "torchvision_alexnet_golden.npz")["images_uint8_NxHxWxC"]
    mean, std = (torch.tensor(v).double() for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = ((torch.from_numpy(images).double() / 255 - mean) / std).permute(0, 3, 1, 2)
    seen = []
    for number in range(1, int(layer[-1]) + 1):
        kernel = arrays[f"conv{number}/kernel"].permute(3, 2, 0, 1)
        stride, pad = (4, 2) if number == 1 else (1, 2 if number == 2 else 1)
        seen.append(("conv", kernel, stride, pad, x.shape))
        x = functional.conv2d(x, kernel, arrays[f"conv{number}/bias"], stride, pad)
        if f"conv{number}" == layer:
            break
        seen.append(("relu",))
        x = functional.relu(x)
        if number in (1, 2):
            shape = x.shape
            x, places = functional.max_pool2d(x, 3, 2, return_indices=True)
            seen.append(("pool", places, shape))
    trained = runs.load(converted, runs.read_config(converted), "best")
    largest, rows, columns = deconvnet.strongest(trained, images, (layer,))[layer]
    each, maps = np.arange(len(images)), np.asarray([3, 17, 40, 63])
    flat = x.flatten(2).max(dim=2).values.numpy()
    np.testing.assert_allclose(largest, flat, atol=1e-4 * np.abs(flat).max())
    rows, columns = rows[each, maps], columns[each, maps]
    signal = torch.zeros_like(x)
    signal[each, maps, rows, columns] = x[each, maps, rows, columns]
    for kind, *rest in reversed(seen):
        if kind == "conv":
            kernel, stride, pad, shape = rest
            over = shape[2] - ((signal.shape[2] - 1) * stride - 2 * pad + kernel.shape[2])
            signal = functional.conv_transpose2d(
                signal, kernel, stride=stride, padding=pad, output_padding=over
            )
        elif kind == "relu":
            signal = functional.relu(signal)
        else:
            places, shape = rest  # overlapping windows may share a maximum: their values add
            back = torch.zeros(shape).double().flatten(2)
            signal = back.scatter_add(2, places.flatten(2), signal.flatten(2)).reshape(shape)
    expected = signal.permute(0, 2, 3, 1).numpy()
    found = deconvnet.projections(trained, images, layer, maps, rows, columns)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
