"""An exported net needs JAX alone."""

import subprocess
import sys

import numpy as np
import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.interop import export
from alexnet_jax.workdir import trained
from tests.interop.helpers import own_run

ALONE = """
import sys
sys.modules["alexnet_jax"] = None  # it cannot be imported
import jax, numpy as np
from jax import export
assert len(jax.devices()) == 1
net = export.deserialize(open("net.stablehlo", "rb").read())
assert net.platforms == ("cpu", "cuda", "tpu") and net.nr_devices == 1
images = np.load("images.npy")
np.savez("answers.npz", one=net.call(images[:1]), seven=net.call(images))
"""


def test_an_export_answers_without_this_package(tmp_path):
    folder = own_run(tmp_path / "run", 2)  # each tower on a device of its own
    loaded = trained.load(folder, trained.read_config(folder), "best")
    assert dict(loaded.mesh.shape) == {"data": 1, "model": 2}
    line = export.export(loaded, tmp_path / "net.stablehlo")
    assert "uint8 (batch, 72, 72, 3) to probabilities (batch, 10), for cpu, cuda, tpu" in line
    images = np.random.default_rng(0).integers(0, 256, (7, 72, 72, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=tmp_path,
        env={"JAX_PLATFORMS": "cpu", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    expected = np.asarray(loaded.predictor(1)(images))
    assert expected.std(axis=0).max() > 0.01  # images make a difference
    with np.load(tmp_path / "answers.npz") as answers:
        assert answers["one"].dtype == np.float32
        np.testing.assert_allclose(answers["seven"], expected, rtol=1e-5)
        np.testing.assert_allclose(answers["one"], expected[:1], rtol=1e-5)


def test_outputs_that_cannot_be(tmp_path):
    for output in (tmp_path, tmp_path / "no" / "file"):
        with pytest.raises(UsageError, match="must name a file in a folder that exists"):
            export.check_output(output)
