"""A config survives JSON with every type, and what is no run's config is one line."""

import json

import pytest
from ml_collections import ConfigDict

from alexnet_jax.config import find, io
from alexnet_jax.errors import UsageError

TREE = {
    "seed": 3,
    "data": {"input_std": (1.0,), "lighting_off": ((0.0, 2.5), (7.0, 9.0)), "flip": True, "name": "ä"},
    "optimizer": {"per_layer": {"conv1": {"kernel_steps": ((5.0, 0.1),)}}},
    "model": {"without": ()},
}
TEXT = """{
 "config": {
  "data": {
   "flip": true,
   "input_std": [
    1.0
   ],
   "resident": "auto",
   "resize": "squash",
   "resize_filter": "bilinear",
   "resize_rounding": "nearest",
   "white_level": 0.0
  },
  "seed": 3
 },
 "class_names": [
  "Æsch",
  "鳥"
 ]
}
"""


def test_tuples_are_lists_in_json_and_tuples_again():
    tree = io.to_json(ConfigDict(TREE))
    assert json.loads(json.dumps(tree)) == tree
    assert tree["data"]["lighting_off"] == [[0.0, 2.5], [7.0, 9.0]]
    assert tree["model"]["without"] == []
    assert io.from_json(tree).to_dict() == TREE


@pytest.mark.parametrize("name", find.config_files())
def test_every_config_survives_json_with_its_types(name):
    config = find.load_file(name)
    assert repr(io.from_json(json.loads(json.dumps(io.to_json(config))))) == repr(config)


def test_relative_paths_of_older_files_are_taken_from_the_current_folder(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    io.save(path, ConfigDict({"data": {"dir": "runs/data"}, "train": {"init_from": ""}}))
    monkeypatch.chdir(tmp_path)
    assert io.load(path)[0].data.dir == f"{tmp_path}/runs/data"
    assert io.load(path)[0].train.init_from == ""


def test_the_file_is_readable_and_whole(tmp_path):
    path = tmp_path / "config.json"
    reading = {
        "white_level": 0.0,
        "resize": "squash",
        "resize_filter": "bilinear",
        "resize_rounding": "nearest",
        "resident": "auto",
    }
    config = ConfigDict({"seed": 3, "data": {"input_std": (1.0,), "flip": True, **reading}})
    io.save(path, config, class_names=["Æsch", "鳥"])
    assert path.read_text(encoding="utf-8") == TEXT
    config.data.max_rejected_share = 0.01  # earlier versions did not have the key
    assert io.load(path) == (config, {"class_names": ["Æsch", "鳥"]})
    del config.data.max_rejected_share
    with pytest.raises(TypeError):
        io.save(path, config, class_names=object())
    assert path.read_text(encoding="utf-8") == TEXT
    assert list(tmp_path.iterdir()) == [path]


def test_runs_of_the_first_versions_get_the_keys_that_came_later(tmp_path):
    """With what those versions did; a key that is there stays, a section that is not there does not come."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": {"optimizer": {"momentum": 0.8}, "schedule": {"power": 1.0}}}))
    config, metadata = io.load(path)
    assert metadata == {}
    assert config.to_dict() == {
        "optimizer": {"momentum": 0.8, "trust_coefficient": 0.001, "folds": 5, "weight_decays": ()},
        "schedule": {
            "power": 1.0,
            "warmup_epochs": 0.0,
            "batch_scaling": "none",
            "base_batch_size": 128,
            "patience_steps": 0,
        },
    }
    path.write_text(json.dumps({"config": {"train": {"epochs": 2.0}}}))
    train = {"epochs": 2.0, "accumulate_steps": 1, "stored_views": 0, "min_steps": 0}
    assert io.load(path)[0].to_dict() == {"train": train}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ('{"config": {"seed": 3}', "Expecting ',' delimiter"),
        ("[]", "it holds no table of keys"),
        ("{}", "it holds no table of keys"),
        ('{"config": 1}', "it holds no table of keys"),
        ('{"config": {}, "statistics": "../other/statistics.npz"}', "its statistics are no file in the same"),
        ('{"config": {}, "statistics": ".."}', "its statistics are no file in the same folder"),
        ('{"config": {}, "statistics": 3}', "its statistics are no file in the same folder"),
        ('{"config": {"optimizer": 1}}', "unsupported operand"),
        ('{"config": ' + "[" * 100_000, "recursion"),
        ('{"config": {}, "class_names": [' + "[]," * 2_000_000, "is larger than 4,194,304 bytes"),
        (b"\xff\xfe", "codec can't decode"),
        (None, "is not a regular file"),
    ],
)
def test_what_is_no_config_is_one_line(text, words, tmp_path):
    path = tmp_path / "config.json"
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as error:
        io.load(path)
    assert str(error.value).startswith(f"{path} cannot be read as a run's config: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_one_is_no_run(tmp_path):
    with pytest.raises(
        UsageError, match=f"^{tmp_path}/config.json does not exist: {tmp_path} is not the workdir"
    ):
        io.load(tmp_path / "config.json")


def test_keys_without_end_are_refused_before_they_are_read(tmp_path):
    """ConfigDict takes some 30 us for each: 13 s for a file of 4 MB."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": {f"a{number}": {} for number in range(100_000)}}))
    with pytest.raises(UsageError, match="more than a config needs"):
        io.load(path)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [30, 300, 900, 100_000])
def test_values_in_values_in_values_are_refused(opening, depth, tmp_path):
    closing = {"[": "]", '{"a":': "}"}[opening]
    path = tmp_path / "config.json"
    path.write_text(f'{{"config": {{"data": {opening * depth}0{closing * depth}}}}}')
    with pytest.raises(UsageError, match="cannot be read as a run's config"):
        io.load(path)
