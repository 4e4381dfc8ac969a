"""The spool of a compressed tar: what is put in comes out, whatever was there before."""

import json
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax.data.shards import RecordFormat
from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.data.spool import Arranged, Spool
from alexnet_jax.errors import UsageError
from tests.data import made_up

RAW = RecordFormat(size=8, channels=3, exif_rotation=False, format="raw", quality=95)
FILES = {**made_up.class_folders(5, 3), "train/ant/bad.jpg": b"<html>", "notes.txt": b"x", "val.md": b""}


def filled(tmp_path: Path, files: made_up.Files) -> tuple[Spool, Arranged]:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(made_up.tar_bytes(files, "w:gz"))
    source, spool = open_source(str(archive)), Spool(tmp_path / "spool", RAW, strict=False)
    spool.fill(source, "toy", 1, lambda needed: None, lambda rejects, expected, allowed: None)
    return spool, spool.arrange(source)


@pytest.mark.parametrize("top", ["", "photos/"])
def test_what_was_put_in_comes_out(tmp_path: Path, top: str) -> None:
    spool, arranged = filled(tmp_path, {f"{top}{name}": data for name, data in FILES.items()})
    images = {name: data for name, data in FILES.items() if data[:2] == b"\xff\xd8"}
    assert arranged.source.entries is not None
    read = {f"{entry.split}/{entry.key}": arranged.source.read(entry) for entry in arranged.source.entries}
    assert read == {name: RAW.encode(data)[1] for name, data in images.items()}
    assert arranged.rejects == ["train/ant/bad.jpg: an HTML page, not an image"]
    assert arranged.source.left_out == {(".txt", "no image"): 1, (".md", "empty file"): 1}
    sums = {split: np.zeros((8, 8, 3), np.int64) for split in ("train", "test")}
    for group, stats in spool.sums():
        sums[arranged.split_of_group[group]] += stats.statistics.sum
    for split, total in sums.items():
        pixels = [RAW.encode(data)[0] for name, data in images.items() if name.startswith(split)]
        np.testing.assert_array_equal(total, np.sum(pixels, axis=0, dtype=np.int64))


def test_what_was_left_out_is_known_after_an_interruption(tmp_path: Path) -> None:
    """A whole spool is not filled again, and the archive not read."""
    spool, arranged = filled(tmp_path, FILES)
    source = open_source(str(tmp_path / "a.tar.gz"))
    before = {path.name: path.stat().st_mtime_ns for path in spool.folder.iterdir()}
    spool.fill(source, "toy", 1, lambda needed: None, lambda rejects, expected, allowed: None)
    assert {path.name: path.stat().st_mtime_ns for path in spool.folder.iterdir()} == before
    assert spool.arrange(source).source.left_out == arranged.source.left_out
    assert json.loads((spool.folder / "whole").read_text())


def test_splits_in_very_many_places(tmp_path: Path) -> None:
    files = {f"{'a/' * n}train/cat/{n}.jpg": made_up.image_file(n) for n in range(40)}
    with pytest.raises(UsageError, match="names of splits in more than 32 ways: decompress it"):
        filled(tmp_path, files)
