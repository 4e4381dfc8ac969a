"""Datasets of TFDS against the records that the test wrote."""

from pathlib import Path

import pytest

from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.errors import UsageError
from tests.data import made_up, toy


def test_what_tfds_prepared(tmp_path: Path) -> None:
    config = toy.config_for(tmp_path, "jpeg", 3)
    toy.write_dataset(config)
    images = made_up.all_images(tmp_path)
    assert len(images) == toy.TRAIN + toy.TEST
    assert open_source(str(tmp_path)).class_names == tuple(f"class{n}" for n in range(toy.CLASSES))
    for (split, label, key), data in images.items():
        index = int(Path(key).stem)
        assert label == f"class{index % toy.CLASSES}"
        assert data == toy.encode(toy.pixels_of(split, index, 3), "jpeg")


def test_the_wrong_datasets_of_tfds(tmp_path: Path) -> None:
    raw, other = toy.config_for(tmp_path / "raw", "raw", 3), toy.config_for(tmp_path / "other", "jpeg", 3)
    toy.write_dataset(raw)
    with pytest.raises(UsageError, match="holds pixels, not encoded images"):
        open_source(str(tmp_path / "raw"))
    toy.write_dataset(other)
    (tmp_path / "both").mkdir()
    (tmp_path / "raw" / "toy_16").rename(tmp_path / "both" / "a")
    (tmp_path / "other" / "toy_16").rename(tmp_path / "both" / "b")
    with pytest.raises(UsageError, match="holds 2 prepared datasets: name one"):
        open_source(str(tmp_path / "both"))
