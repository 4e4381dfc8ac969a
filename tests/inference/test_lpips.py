"""LPIPS against an independent float64 computation, its gradient, and what it refuses."""

import dataclasses
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageFilter

from alexnet_jax.config import resolve
from alexnet_jax.data.images import Preprocessing, resize_center_crop
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import lpips
from alexnet_jax.model import network
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Activation, Architecture, Conv, Pool
from tests.inference.helpers import random_run
from tests.model.helpers import assert_close
from tests.reference import numpy_layers as ref

CHANNELS = (64, 192, 384, 256, 256)


def trunk(channels):
    """torchvision's `features` as far as its last ReLU."""
    rows = []
    for number, (count, kernel, stride, pad) in enumerate(
        zip(channels, (11, 5, 3, 3, 3), (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), strict=True), 1
    ):
        rows += [
            Conv(f"conv{number}", count, kernel, 0.01, 0.0, "both", stride, (pad, pad)),
            Activation(f"relu{number}", "relu"),
        ]
        if number < 3:
            rows.append(Pool(f"pool{number}", "max", 3, 2))
    return Architecture("torchvision", 224, 3, 1000, 1, tuple(rows))


@pytest.fixture(scope="module")
def small():
    """A narrow trunk with random weights; a third of all positions after relu5 say nothing at all."""
    architecture, draw = trunk((6, 8, 8, 6, 3)), np.random.default_rng(0)
    params = {
        name: {
            "kernel": draw.normal(0, 1.5 / np.prod(shape.kernel[:-1]) ** 0.5, shape.kernel),
            "bias": draw.normal(-0.5 if name == "conv5" else 0.1, 0.1, shape.bias),
        }
        for name, shape in layer_shapes(architecture).items()
        if shape.kernel
    }
    heads = tuple(draw.uniform(0, 1, count) for count in (6, 8, 8, 6, 3))
    return lpips.LpipsNet(params, heads, architecture)


def by_hand(net, a, b, conv=ref.conv, max_pool=ref.max_pool):
    """LPIPS in float64 from its paper's equation 1 and the constants of its published scaling layer."""

    def layers(x):
        x = (np.asarray(x, np.float64) - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        activations = []
        for number in range(1, 6):
            weights = {part: np.asarray(value)[0] for part, value in net.params[f"conv{number}"].items()}
            stride, pad = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))[number - 1]
            x = np.maximum(conv(x, weights["kernel"], weights["bias"], stride=stride, padding=pad), 0)
            activations.append(x)
            if number < 3:
                x = max_pool(x, size=3, stride=2)
        return activations

    total = np.zeros(len(a))
    for first, second, head in zip(layers(a), layers(b), net.heads, strict=True):
        unit = [v / (np.sqrt((v**2).sum(-1, keepdims=True)) + 1e-10) for v in (first, second)]
        total += (((unit[0] - unit[1]) ** 2) * np.asarray(head, np.float64)).sum(-1).mean((1, 2))
    return total


def draw_pair(count=3, height=75, width=50, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (2, count, height, width, 3)).astype(np.float32)


def test_against_numpy(small):
    a, b = draw_pair()
    expected = by_hand(small, a, b)
    assert (expected > 0.1).all()
    compiled = jax.jit(lpips.distance)
    assert_close(compiled(small, a, b), expected, 1e-5)
    assert_close(compiled(small, b, a), expected, 1e-5)
    np.testing.assert_array_equal(np.asarray(compiled(small, a, a)), np.zeros(3))
    half = jax.eval_shape(compiled, small, a.astype(jnp.bfloat16), b.astype(jnp.bfloat16))
    assert half.dtype == jnp.float32


def test_gradient_against_finite_differences(small):
    """In 64 bits, in six directions and towards both images; positions without any signal give no NaN."""
    draw = np.random.default_rng(2)
    a, b = (pair.astype(np.float64) * 0.9 for pair in draw_pair(1, 71, 63))
    with jax.enable_x64(True):
        compiled = jax.jit(jax.grad(lambda a, b: lpips.distance(small, a, b).sum(), (0, 1)))
        gradients = compiled(a, b)
        assert all(g.dtype == np.float64 for g in gradients)
        for direction in draw.normal(size=(6, *a.shape)):
            for side, gradient in enumerate(gradients):
                step = 1e-6 * direction
                ends = [(a + sign * step, b) if side == 0 else (a, b + sign * step) for sign in (1, -1)]
                slope = (by_hand(small, *ends[0]) - by_hand(small, *ends[1]))[0] / 2e-6
                assert float((np.asarray(gradient) * direction).sum()) == pytest.approx(slope, rel=1e-5)
        trunk = dataclasses.replace(small.architecture, compute_dtype="float64")
        relu5 = network.forward(trunk, None, small.params, jnp.asarray(a), wanted=("relu5",))["relu5"]
        silent = (np.asarray(relu5) == 0).all(-1).mean()
        assert 0 < silent < 1
        assert np.abs(compiled(b, b)[0]).max() < 1e-12 * np.abs(gradients[0]).max()


def test_values_outside_the_range_are_refused_clipped_or_trusted(small):
    a, b = draw_pair(2)
    out = a.copy()
    out[0, 0, 0, 0] = 1.5
    with pytest.raises(UsageError, match="from -1 to 1"):
        lpips.distance(small, out, b)
    compiled = jax.jit(lpips.distance, static_argnames="outside")
    assert np.isnan(compiled(small, out, b)).tolist() == [True, False]
    clipped = compiled(small, out, b, outside="clip")
    np.testing.assert_array_equal(clipped, compiled(small, np.clip(out, -1, 1), b))
    assert_close(compiled(small, out, b, outside="trust"), by_hand(small, out, b), 1e-5)
    gradient = jax.grad(lambda x: lpips.distance(small, x, b, outside="clip").sum())(jnp.asarray(out))
    assert np.isfinite(gradient).all()
    assert (gradient[0, 0, 0, 0], bool((gradient != 0).any())) == (0, True)
    with pytest.raises(ValueError, match="outside='ignore': there are 'check', 'clip' and 'trust'"):
        lpips.distance(small, a, b, outside="ignore")
    with pytest.raises(TypeError, match="LPIPS takes floats"):
        lpips.distance(small, [1.0], b)


def test_curvature_where_an_image_meets_itself(small):
    """The slope is 0 there; twice the distance a small step away is the second derivative."""
    a = draw_pair(1, 71, 63)[0].astype(np.float64) * 0.9
    direction = np.random.default_rng(3).normal(size=a.shape)
    step = 1e-4 * direction
    expected = (by_hand(small, a + step, a) + by_hand(small, a - step, a))[0] / 1e-8
    with jax.enable_x64(True):
        slope = jax.grad(lambda a, b: lpips.distance(small, a, b).sum())
        curvature = jax.jit(jax.grad(lambda a, b: (slope(a, b) * direction).sum()))(a, a)
        assert float((np.asarray(curvature) * direction).sum()) == pytest.approx(expected, rel=1e-3)
        assert np.isfinite(jax.grad(lambda x: lpips._unit(x).sum())(jnp.zeros((2, 3)))).all()


def test_refusals(small):
    a, b = map(jnp.asarray, draw_pair())
    for first, second, words in [
        (a, b[:2], r"one shape \(B, H, W, 3\)"),
        (a, b[:, 1:], r"one shape \(B, H, W, 3\)"),
        (a[..., :1], b[..., :1], r"one shape \(B, H, W, 3\)"),
        (a[0], b[0], r"one shape \(B, H, W, 3\)"),
        (a[:, :30], b[:, :30], "images of 30 x 50 are too small"),
        (a * 1.01 + 0.02, b, "have values outside"),
        (a, b - 0.1, "have values outside"),
        (a, b.at[0, 0, 0, 0].set(jnp.nan), "have values outside"),
        (jnp.zeros((1, 64, 64, 3), jnp.uint8), jnp.zeros((1, 64, 64, 3), jnp.uint8), "not uint8"),
    ]:
        with pytest.raises(UsageError, match=words):
            lpips.distance(small, first, second)
    smallest = lpips.distance(small, a[:, :31, :31], b[:, :31, :31])
    assert_close(smallest, by_hand(small, a[:, :31, :31], b[:, :31, :31]), 1e-5)
    distances = jax.jit(lpips.distance)(small, a, b.at[1, 0, 0, 0].set(1.001))
    assert np.isnan(distances).tolist() == [False, True, False]
    assert lpips.from_uint8(np.array([0, 255], np.uint8)).tolist() == [-1.0, 1.0]


def test_heads_in_a_workdir(tmp_path):
    with pytest.raises(UsageError, match=r"holds no LPIPS heads \(lpips.npz\)"):
        lpips.load_heads(tmp_path)
    given = {f"lin{number}": np.full((1, 3, 1, 1), number, np.float64) for number in range(5)}
    lpips.save_heads(tmp_path, given)
    heads = lpips.load_heads(tmp_path)
    assert [head.tolist() for head in heads] == [[number] * 3 for number in range(5)]
    run = random_run(tmp_path)
    with pytest.raises(UsageError, match=r"heads for \(3, 3, 3, 3, 3\) channels"):
        lpips.load(run)
    whole = (tmp_path / "lpips.npz").read_bytes()
    for content in (whole[:100], b"", whole.replace(b"lin3", b"lin7")):
        (tmp_path / "lpips.npz").write_bytes(content)
        with pytest.raises(UsageError, match=r"lpips.npz cannot be read"):
            lpips.load_heads(tmp_path)
    with pytest.raises(KeyError):
        lpips.save_heads(tmp_path, {"lin0": np.zeros(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["lpips.npz"]


def run_of(net, workdir):
    """A workdir's net around a trunk, with its heads in the folder."""
    lpips.save_heads(workdir, {f"lin{number}": head for number, head in enumerate(net.heads)})
    whole = dataclasses.replace(
        net.architecture, layers=(*net.architecture.layers, Pool("pool5", "max", 3, 2))
    )
    return dataclasses.replace(random_run(workdir), architecture=whole, params=net.params)


def test_compare(small, tmp_path):
    run = run_of(small, tmp_path)
    pixels = np.random.default_rng(5).integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)
    for name, image in zip("ab", pixels, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    Image.fromarray(pixels[0, :, 1:]).save(tmp_path / "narrow.png")
    turned = Image.fromarray(np.rot90(pixels[0]).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    turned.save(tmp_path / "turned.png", exif=exif)
    (tmp_path / "bad.png").write_bytes(b"no image")
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    answer = lpips.compare(run, a, b)
    net = lpips.load(run)
    expected = by_hand(net, *(image[None] / 127.5 - 1 for image in pixels))
    assert answer["files"] == [str(a), str(b)]
    assert answer["lpips"] == pytest.approx(expected[0], rel=1e-5)
    assert f"LPIPS {expected[0]:.4f}" in lpips.as_text(answer)
    assert lpips.compare(run, a, a)["lpips"] == 0
    with pytest.raises(UsageError, match="compares images of one size"):  # as the net was trained: not turned
        lpips.compare(run, a, tmp_path / "turned.png")
    turning = dataclasses.replace(run, config=resolve.replace(run.config, {"data.exif_rotation": True}))
    assert lpips.compare(turning, a, tmp_path / "turned.png")["lpips"] == 0
    with pytest.raises(UsageError, match=r"a.png is 60 x 40 pixels and .*narrow.png 59 x 40"):
        lpips.compare(run, a, tmp_path / "narrow.png")
    with pytest.raises(RunFailure, match=r"bad.png cannot be read"):
        lpips.compare(run, a, tmp_path / "bad.png")
    Image.new("1", (5000, 4000)).save(tmp_path / "large.png")
    with pytest.raises(RunFailure, match=r"large.png cannot be read: 5,000 x 4,000 pixels are more than"):
        lpips.compare(run, a, tmp_path / "large.png")
    with pytest.raises(UsageError, match="two images, and 1 were given"):
        lpips.two_files([str(a)])
    with pytest.raises(UsageError, match="is not a file"):
        lpips.two_files([str(a), str(tmp_path)])


@pytest.fixture(scope="module")
def published(real_data):
    """The trained trunk and its published heads."""
    with np.load(real_data / "torchvision_alexnet_features.npz") as arrays:
        params = {
            f"conv{n}": {part: arrays[f"conv{n}/{part}"][None] for part in ("kernel", "bias")}
            for n in range(1, 6)
        }
        return lpips.LpipsNet(params, tuple(arrays[f"lpips/lin{n}"] for n in range(5)), trunk(CHANNELS))


@pytest.fixture(scope="module")
def photographs(real_data):
    """Eight photographs of eight classes, 160 x 160 of their middle."""
    by_class = {}
    with tarfile.open(real_data / "caltech101_30.tar.xz", "r|*") as archive:
        for member in archive:
            label = member.name.split("/")[-2] if member.isreg() else ""
            if label and label not in by_class and member.name.endswith(".jpg"):
                by_class[label] = resize_center_crop(
                    archive.extractfile(member).read(), Preprocessing(160, 3, False)
                )
            if len(by_class) == 8:
                return list(by_class.values())
    raise AssertionError("too few photographs")


def distorted(image, kind, amount):
    """An image blurred, with noise, or shifted to the right."""
    if kind == "blur":
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(amount)))
    if kind == "noise":
        noise = np.random.default_rng(7).normal(0, amount, image.shape)
        return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    return np.pad(image, ((0, 0), (amount, 0), (0, 0)), "edge")[:, : image.shape[1]]


DISTORTIONS = {"blur": (1, 2, 4), "noise": (5, 20, 60), "shift": (1, 4, 12)}


@pytest.mark.slow
def test_photographs_against_pytorch(published, photographs):
    """32 pairs of photographs, their neighbours and distortions, to 1e-5."""
    torch = pytest.importorskip("torch")

    def conv(x, kernel, bias, stride, padding):
        x, kernel = (
            torch.tensor(np.moveaxis(v, *axes).copy()) for v, axes in ((x, (3, 1)), (kernel, (2, 0)))
        )
        kernel = torch.movedim(kernel, 3, 0).double()
        y = torch.nn.functional.conv2d(x, kernel, torch.tensor(bias).double(), stride, padding)
        return np.moveaxis(y.numpy(), 1, 3)

    def max_pool(x, size, stride):
        y = torch.nn.functional.max_pool2d(torch.tensor(np.moveaxis(x, 3, 1).copy()), size, stride)
        return np.moveaxis(y.numpy(), 1, 3)

    pairs = []
    for number, image in enumerate(photographs):
        pairs.append((image, photographs[number - 1]))
        pairs += [(image, distorted(image, kind, amounts[1])) for kind, amounts in DISTORTIONS.items()]
    assert len(pairs) >= 20
    a, b = (lpips.from_uint8(np.stack(side)) for side in zip(*pairs, strict=True))
    expected = by_hand(published, a, b, conv, max_pool)
    distances = np.asarray(jax.jit(lpips.distance)(published, a, b))
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    assert 0.5 < expected[::4].mean() < 0.9  # different photographs are far apart on LPIPS' own scale


@pytest.mark.slow
def test_grows_with_blur_noise_and_shift(published, photographs):
    compiled = jax.jit(lpips.distance)
    a = lpips.from_uint8(np.stack(photographs))
    np.testing.assert_array_equal(np.asarray(compiled(published, a, a)), np.zeros(len(a)))
    for kind, amounts in DISTORTIONS.items():
        last = np.zeros(len(a))
        for amount in amounts:
            b = lpips.from_uint8(np.stack([distorted(image, kind, amount) for image in photographs]))
            distances = np.asarray(compiled(published, a, b))
            assert (distances > last).all(), f"{kind} {amount}"
            last = distances
