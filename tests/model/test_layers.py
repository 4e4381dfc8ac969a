"""Each layer, forward and gradient, against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.model import layers
from tests.model.helpers import assert_close, layer_gradients, random_array
from tests.reference import numpy_layers as plain


@pytest.fixture
def as_on_accelerator(monkeypatch):
    """What is written for other devices than a CPU runs here."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *inputs, cpu, default: default(*inputs))


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize(("stride", "pad"), [(4, (0, 3)), (1, (2, 2))])
@pytest.mark.parametrize("part", [2**19, 3000, 1])  # the batch whole, in parts, image by image
def test_convolution_of_own_channels_is_a_grouped_one(towers, stride, pad, part, monkeypatch):
    monkeypatch.setattr(layers, "CHUNK_ELEMENTS", part)
    check_convolution_of_own_channels(towers, stride, pad)


@pytest.mark.parametrize(("stride", "pad"), [(4, (0, 3)), (4, (2, 2)), (2, (0, 0)), (3, (1, 1)), (1, (2, 2))])
def test_convolution_of_few_channels_on_an_accelerator(stride, pad, as_on_accelerator):
    check_convolution_of_own_channels(2, stride, pad)


@pytest.mark.parametrize(
    ("platform", "read"), [("cpu", "224x224x3"), ("cuda", "57x57x48"), ("tpu", "57x57x48")]
)
def test_conv1_reads_squares_as_channels_on_accelerators_alone(platform, read):
    kernel, bias = jnp.zeros((2, 11, 11, 3, 48)), jnp.zeros((2, 48))
    forward = jax.jit(lambda x: layers.convolution(x, kernel, bias, 4, (1, 2)))
    lowered = forward.trace(jnp.zeros((8, 224, 224, 3))).lower(lowering_platforms=(platform,))
    (read_here,) = [line for line in lowered.as_text().splitlines() if "stablehlo.convolution" in line]
    assert f"tensor<8x{read}xf32>" in read_here


@pytest.mark.parametrize(
    ("size", "channels", "read"), [(5, 3, "36x9x12"), (3, 1, "34x17x2"), (5, 6, "32x32x6"), (1, 3, "32x32x3")]
)
def test_few_channels_are_read_several_columns_at_once_on_a_cpu(size, channels, read):
    kernel, bias, pad = jnp.zeros((1, size, size, channels, 8)), jnp.zeros((1, 8)), size // 2
    forward = jax.jit(lambda x: layers.convolution(x, kernel, bias, 1, (pad, pad)))
    lowered = forward.trace(jnp.zeros((4, 32, 32, channels))).lower(lowering_platforms=("cpu",))
    (convolution,) = [line for line in lowered.as_text().splitlines() if "stablehlo.convolution" in line]
    assert f"tensor<4x{read}xf32>" in convolution


@pytest.mark.parametrize(("size", "pad"), [(5, (2, 2)), (3, (0, 2)), (3, (1, 1)), (7, (0, 0))])
def test_convolution_of_an_image_at_stride_1(size, pad):
    x, kernel, bias = random_array(3, 13, 10, 3), random_array(1, size, size, 3, 4), random_array(1, 4)
    y, g, (dx, dk, db) = layer_gradients(lambda x, k, b: layers.convolution(x, k, b, 1, pad), x, kernel, bias)
    options = {"stride": 1, "padding": (pad, pad), "groups": 1}
    assert_close(y, plain.conv(x, kernel[0], bias[0], **options), 1e-5)
    for ours, expected in zip((dx, dk[0], db[0]), plain.conv_vjp(g, x, kernel[0], **options), strict=True):
        assert_close(ours, expected, 1e-5)


def check_convolution_of_own_channels(towers, stride, pad):
    x = random_array(5, 13, 13, 6)
    kernel, bias = random_array(towers, 5, 5, 6 // towers, 4), random_array(towers, 4)
    y, g, (dx, dk, db) = layer_gradients(
        lambda x, k, b: layers.convolution(x, k, b, stride, pad), x, kernel, bias
    )
    joined = np.concatenate(list(kernel), axis=-1)
    options = {"stride": stride, "padding": (pad, pad), "groups": towers}
    assert_close(y, plain.conv(x, joined, bias.reshape(-1), **options), 1e-5)
    px, pk, pb = plain.conv_vjp(g, x, joined, **options)
    assert_close(dx, px, 1e-5)
    assert_close(np.concatenate(list(dk), axis=-1), pk, 1e-5)
    assert_close(db.reshape(-1), pb, 1e-5)


def test_convolution_of_all_channels_by_two_towers_is_one_wide_one():
    x, kernel, bias = random_array(2, 7, 7, 6), random_array(2, 3, 3, 6, 4), random_array(2, 4)
    y = layers.convolution(x, jnp.asarray(kernel), jnp.asarray(bias), 1, (1, 1))
    wide = np.concatenate(list(kernel), axis=-1)
    assert_close(y, plain.conv(x, wide, bias.reshape(-1), stride=1, padding=((1, 1), (1, 1))), 1e-5)


def test_dense_reads_own_channels_or_all_flattened_by_rows():
    x, bias = random_array(3, 2, 2, 8), random_array(2, 5)
    everything, own = random_array(2, 32, 5, seed=1), random_array(2, 16, 5, seed=2)
    y, g, (dx, dk, db) = layer_gradients(layers.dense, x, everything, bias)
    wide = np.concatenate(list(everything), axis=-1)
    assert_close(y, plain.dense(x.reshape(3, -1), wide, bias.reshape(-1)), 1e-5)
    px, pk, pb = plain.dense_vjp(g, x.reshape(3, -1), wide)
    assert_close(dx.reshape(3, -1), px, 1e-5)
    assert_close(np.concatenate(list(dk), axis=-1), pk, 1e-5)
    assert_close(db.reshape(-1), pb, 1e-5)
    y = layers.dense(x, jnp.asarray(own), jnp.asarray(bias))
    for t in range(2):
        part = x[..., 4 * t : 4 * t + 4].reshape(3, -1)
        assert_close(y[:, 5 * t : 5 * t + 5], plain.dense(part, own[t], bias[t]), 1e-5)


def test_the_last_layer_sums_what_the_towers_give():
    x, kernel = random_array(3, 8), random_array(2, 4, 5)
    expected = plain.dense(x, kernel.reshape(8, 5), np.zeros(5))
    assert_close(layers.dense_partial_sum(jnp.asarray(x), jnp.asarray(kernel)), expected, 1e-5)


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize(
    ("size", "alpha", "beta"),
    [(5, 1e-4, 0.75), (5, 0.3, 0.75), (5, 0.3, 0.5), (4, 0.3, 0.75), (1, 0.3, 0.75)],
)
def test_lrn(towers, size, alpha, beta):
    x = random_array(2, 3, 3, 12, scale=3.0)
    y, g, (dx,) = layer_gradients(lambda x: layers.lrn(x, size, alpha, beta, 2.0, towers), x)
    options = {"size": size, "alpha": alpha, "beta": beta, "k": 2.0, "groups": towers}
    assert_close(y, plain.lrn(x, **options), 1e-5)
    assert_close(dx, plain.lrn_vjp(g, x, **options), 1e-5)


def test_lrn_of_16_bits_is_rounded_once():
    x = jnp.asarray(random_array(2, 3, 3, 12, scale=30.0), jnp.bfloat16)
    y = layers.lrn(x, 5, 1e-4, 0.75, 2.0, 2)
    exact = plain.lrn(np.asarray(x, np.float32), size=5, alpha=1e-4, beta=0.75, k=2.0, groups=2)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, rtol=2**-8)


@pytest.mark.parametrize("kind", ["relu", "tanh", "sigmoid"])
def test_activations(kind):
    x = random_array(4, 5)
    y, g, (dx,) = layer_gradients(lambda x: layers.ACTIVATIONS[kind](x), x)
    assert_close(y, getattr(plain, kind)(x), 1e-5)
    assert_close(dx, getattr(plain, f"{kind}_vjp")(g, x), 1e-5)


@pytest.mark.parametrize("size", [3, 5])
def test_within_channel_lrn(size):
    x = random_array(2, 7, 7, 4, scale=3.0)
    y, g, (dx,) = layer_gradients(lambda x: layers.within_channel_lrn(x, size, 0.3, 0.75, 1.0), x)
    options = {"size": size, "alpha": 0.3, "beta": 0.75, "k": 1.0}
    assert_close(y, plain.same_channel_lrn(x, **options), 1e-5)
    assert_close(dx, plain.same_channel_lrn_vjp(g, x, **options), 1e-5)


@pytest.mark.parametrize("pad", [0, 1])
def test_locally_connected(pad):
    x, side = random_array(3, 6, 6, 4), 4 + 2 * pad
    kernel, bias = random_array(1, side, side, 3, 3, 4, 5), random_array(1, side, side, 5)
    y, g, (dx, dk, db) = layer_gradients(lambda *a: layers.locally_connected(*a, pad), x, kernel, bias)  # type: ignore[call-arg]
    padding = ((pad, pad), (pad, pad))
    assert_close(y, plain.local(x, kernel[0], bias[0], padding=padding), 1e-5)
    px, pk, pb = plain.local_vjp(g, x, kernel[0], padding=padding)
    assert_close(dx, px, 1e-5)
    assert_close(dk[0], pk, 1e-5)
    assert_close(db[0], pb, 1e-5)


@pytest.mark.parametrize("inverted", [False, True])
def test_dropout(inverted):
    x = random_array(4, 6)
    mask = np.random.default_rng(0).random((4, 6)) < 0.75
    for given in (mask, None):
        y, g, (dx,) = layer_gradients(lambda x, m=given: layers.dropout(x, m, 0.25, inverted), x)
        options = {"rate": 0.25, "inverted": inverted}
        assert_close(y, plain.dropout(x, given, **options), 1e-6)
        assert_close(dx, plain.dropout_vjp(g, given, **options), 1e-6)
