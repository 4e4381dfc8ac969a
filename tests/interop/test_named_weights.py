"""Weights by a net's name: torchvision's file is fetched when it is asked for, and not before."""

import hashlib

import numpy as np
import pytest

import alexnet_jax
from alexnet_jax.interop import named_weights
from alexnet_jax.interop.fetch import Published
from tests.commands.helpers import call
from tests.interop import makers


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "alexnet_jax"


@pytest.fixture
def published(monkeypatch, cache, tmp_path):
    """A narrow net in the place of torchvision's: its file, and where the cache would have it."""
    path = makers.write(tmp_path / "a.pth", makers.torchvision(), monkeypatch)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    file = Published(f"http://127.0.0.1:9/alexnet-{sha256}.pth", sha256, most=2**20)
    monkeypatch.setitem(named_weights.PUBLISHED, "torchvision", file)
    return path, cache / "downloads" / file.name


def test_torchvisions_file_is_used_by_its_name(published, tmp_path, capsys):
    path, place = published
    assert call(["convert", "torchvision", f"--output={tmp_path / 'run'}"]) == 1
    errors = capsys.readouterr().err
    assert "cannot be fetched: [Errno 111] Connection refused. Type the command again" in errors
    assert f"copy {place.name} to {place}" in errors
    assert not (tmp_path / "run").exists()
    place.write_bytes(path.read_bytes())
    assert call(["convert", "torchvision", f"--output={tmp_path / 'run'}"]) == 0
    assert f"wrote the workdir {tmp_path / 'run'}" in capsys.readouterr().out
    named, direct = alexnet_jax.load("torchvision"), alexnet_jax.load(path)
    for layer, leaves in direct.params.items():
        for name, array in leaves.items():
            np.testing.assert_array_equal(named.params[layer][name], array)


def test_what_is_wrong_is_said_before_anything_is_fetched(published, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert call(["convert", "torchvision", f"--output={tmp_path / 'run'}"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert not published[1].parent.exists()
