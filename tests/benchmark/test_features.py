"""A short run of the measurement of features."""

from alexnet_jax.benchmark import features
from tests.inference.helpers import random_run, write_images


def test_measures_features(tmp_path):
    write_images(tmp_path / "in", 7)
    net = random_run(tmp_path / "run")
    row = features.measure(net, str(tmp_path / "in"), ["relu5"], tmp_path, images=20, runs=1)[0]
    assert row["name"] == "features.vs_forward"
    assert (row["images"], row["files"], row["layers"]) == (20, 7, ["relu5"])
    assert row["ratio"] == row["median"] / row["peer_median"]
    assert [peak["images"] for peak in row["peak_memory"]] == [2, 10, 20]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
