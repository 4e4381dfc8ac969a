"""The type of a batch against the batches that come."""

import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data.batch import Batch
from tests.data.toy import assert_same, changed, evaluation, training


def test_a_training_batch_has_what_may_be_drawn_and_an_evaluation_batch_three(raw: ConfigDict) -> None:
    (batch,) = training(changed(raw, lighting_divisor=2.0), last=1)
    # Values are of frozen layers alone, weights of evaluations.
    assert batch.keys() == Batch.__annotations__.keys() - {"values", "weight"}
    assert all(batch.keys() == {"image", "label", "weight"} for batch in evaluation(raw, "test", (0, 4)))


def test_every_field_is_documented() -> None:
    assert Batch.__doc__ is not None
    fields = [line.split(":")[0].strip() for line in Batch.__doc__.splitlines() if line.startswith("      ")]
    assert [field for field in fields if field.isidentifier()] == list(Batch.__annotations__)


def test_a_batch_is_a_plain_dict_for_pickle_and_jit(raw: ConfigDict) -> None:
    batches = training(raw, last=1)
    assert type(batches[0]) is dict
    assert_same(pickle.loads(pickle.dumps(batches)), batches)
    assert_same([jax.device_get(jax.jit(lambda batch: batch)(batches[0]))], batches)


def test_without_jax() -> None:
    code = "import sys; import alexnet_jax.data.batch; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_arrays_of_a_batch_are_the_documented_ones(raw: ConfigDict) -> None:
    for batch in (*training(raw, last=2), *evaluation(raw, "test", (0, 4))):
        for name, value in batch.items():
            assert isinstance(value, np.ndarray)
            assert Batch.__doc__ is not None
            assert f"{name}: {value.dtype} (" in Batch.__doc__
