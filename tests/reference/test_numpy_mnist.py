"""The numpy program's step is that of the net it stands beside."""

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.benchmark.step import prepare
from alexnet_jax.training import step
from configs import mnist
from tests.model.helpers import assert_close
from tests.reference.numpy_mnist import Net


def test_three_steps_are_ours() -> None:
    bench = prepare(mnist.get_config())
    draw = np.random.default_rng(3)
    net = Net(784, 15, 10, draw)
    params = {
        "fc1": {"kernel": net.w1[None].copy(), "bias": net.b1[None].copy()},
        "fc2": {"kernel": net.w2[None].copy(), "bias": net.b2.copy()},
    }
    state = step.init_state(bench.program, jax.tree.map(jnp.asarray, params))
    update = step.compiled_train_step(bench.program, state)
    for _ in range(3):
        image, label = draw.integers(0, 256, (10, 28, 28, 1), dtype=np.uint8), draw.integers(0, 10, 10)
        net.train(image.reshape(10, -1) / np.float32(255), label, 0.5)
        batch = {"image": jnp.asarray(image), "label": jnp.asarray(label, jnp.int32)}
        state, _ = update(state, batch, bench.mean, bench.learning_rates)
    theirs = {
        "fc1": {"kernel": net.w1[None], "bias": net.b1[None]},
        "fc2": {"kernel": net.w2[None], "bias": net.b2},
    }
    assert_close(jax.device_get(state.params), theirs, 1e-5)
