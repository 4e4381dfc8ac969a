"""Manifests as files: read by json and hashlib alone; every edit by hand is found."""

import hashlib
import json

import pytest

from alexnet_jax.errors import RunFailure
from alexnet_jax.workdir import manifest

METADATA = {"epoch": 1.5, "validation_top1_error": 0.25}
PROVENANCE = {"step": 7, "config": {"seed": 3}}


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of one file."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "array").write_bytes(b"values")
    manifest.write(tmp_path, manifest.checksums(tmp_path), METADATA, PROVENANCE)
    return tmp_path


def digest(tree):
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def rewrite(folder, change):
    tree = json.loads((folder / "manifest.json").read_text())
    change(tree)
    (folder / "manifest.json").write_text(json.dumps(tree, indent=1))


def test_what_is_written(folder):
    assert json.loads((folder / "manifest.json").read_text()) == {
        "progress": METADATA,
        "progress_sha256": digest(METADATA),
        "provenance": PROVENANCE,
        "provenance_sha256": digest(PROVENANCE),
        "files": {"state/array": [6, hashlib.sha256(b"values").hexdigest()]},
    }
    assert manifest.read(folder)["provenance"] == PROVENANCE
    assert manifest.find_corruption(folder) is None
    manifest.write(folder, manifest.checksums(folder), METADATA, None)  # as earlier versions did
    assert list(manifest.read(folder)) == ["progress", "progress_sha256", "files"]
    assert manifest.find_corruption(folder) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["provenance"].update(step=8),
        lambda tree: tree["provenance"]["config"].clear(),
        lambda tree: tree["progress"].update(validation_top1_error=0.1),
        lambda tree: tree.pop("provenance_sha256"),
        lambda tree: tree.update(provenance_sha256="0"),
        lambda tree: tree.update(provenance=None),
        lambda tree: tree.update(files=[]),
        lambda tree: tree.pop("files"),
        lambda tree: tree.pop("progress"),
    ],
)
def test_an_edit_is_found(change, folder):
    rewrite(folder, change)
    with pytest.raises(RunFailure, match=r"/manifest.json (is not as it was written|cannot be read)"):
        manifest.read(folder)
    assert manifest.find_corruption(folder).startswith(f"{folder}/manifest.json ")


@pytest.mark.parametrize("text", ["", "[]", "1", "{}", '{"a": ' * 100_000, "\xff"])
def test_what_is_no_manifest_is_one_line(text, folder):
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    assert "\n" not in manifest.find_corruption(folder)
    with pytest.raises(RunFailure):
        manifest.read(folder)


def test_files_that_were_changed(folder):
    (folder / "state" / "array").write_bytes(b"Values")
    assert manifest.find_corruption(folder) == f"{folder}/state/array is not as it was written"
    (folder / "state" / "array").unlink()
    assert manifest.find_corruption(folder) == f"{folder}/state/array is missing"


def test_steps(tmp_path):
    assert manifest.steps(tmp_path / "none") == manifest.numbered_folders(tmp_path / "none") == []
    for name in ("9", "10", "12", "notes"):
        (tmp_path / name).mkdir()
    for name in ("9", "10", "notes"):
        (tmp_path / name / "manifest.json").write_text("{}")
    assert manifest.steps(tmp_path) == [9, 10]
    assert {path.name for path in manifest.numbered_folders(tmp_path)} == {"9", "10", "12"}


def test_what_is_too_large_for_one_is_not_read(folder):
    """One of 20 MB took 20 s, for it is written again to be compared."""
    (folder / "manifest.json").write_text("[" + "{}," * 10**6)
    with pytest.raises(RunFailure, match="is larger than"):
        manifest.read(folder)
