"""What a process of prepare writes."""

import subprocess
import sys

import pytest
from tensorflow_datasets.proto import tf_example_pb2

from alexnet_jax.data import shards


@pytest.mark.parametrize("label", [0, 1, 127, 128, 21_840, 2**31])
@pytest.mark.parametrize("length", [0, 1, 127, 128, 70_000])
def test_a_record_is_the_example_that_protobuf_writes(label, length):
    name = "n01440764/\udcff ü 象.JPEG" if length else ""
    expected = tf_example_pb2.Example()
    feature = expected.features.feature
    feature["image"].bytes_list.value.append(bytes(i % 256 for i in range(length)))
    feature["label"].int64_list.value.append(label)
    feature["file_name"].bytes_list.value.append(name.encode("utf-8", "backslashreplace"))
    ours = shards.example(feature["image"].bytes_list.value[0], label, name)
    assert ours == expected.SerializeToString(deterministic=True)


def test_a_process_does_not_load_tfds():
    code = "import sys, alexnet_jax.data.shards; print('tensorflow_datasets' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
