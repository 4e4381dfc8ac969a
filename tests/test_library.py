"""The library: what `import alexnet_jax` gives, as a user of JAX calls it."""

import doctest
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from flax import nnx
from PIL import Image

import alexnet_jax
from alexnet_jax import library
from alexnet_jax.config import find
from alexnet_jax.data.images import BadImage, Preprocessing, resize_center_crop
from alexnet_jax.distributed import Group
from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import activations, views
from alexnet_jax.inference import predict
from alexnet_jax.model import network, sharding
from alexnet_jax.model.inputs import normalise
from alexnet_jax.model.specs import Activation, Conv, Dense, Dropout, Table
from alexnet_jax.training import loop, resume
from alexnet_jax.training.setup import prepare_run
from alexnet_jax.training.stop import Stop
from tests.data import made_up
from tests.model.helpers import assert_close

RUN = Path(__file__).parent / "fixtures" / "run_0876f0d"
ROWS = (
    Conv("conv1", 4, 3, 0.3, 0.1, "both"),
    Activation("relu1", "relu"),
    Dense("fc2", 6, 0.3, 0.1),
    Dropout("drop2", 0.5),
    Dense("fc3", 5, 0.3, 0.0, "sum"),
)


@pytest.fixture(scope="module")
def workdir() -> Path:
    (found,) = RUN.glob("**/config.json")
    return found.parent


@pytest.fixture(scope="module")
def net(workdir):
    return alexnet_jax.load(workdir)


@pytest.fixture(scope="module")
def small():
    return alexnet_jax.create(Table(ROWS), crop=8)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, net):
    """Files of several kinds, and the same decoded: grey where the net is."""
    folder = tmp_path_factory.mktemp("photographs")
    files = []
    for number, (kind, mode, size) in enumerate(
        [("PNG", "RGB", (40, 31)), ("PNG", "L", (90, 90)), ("PNG", "RGB", (72, 100))]
    ):
        files.append(folder / f"{number}.png")
        files[-1].write_bytes(made_up.image_file(number, kind, size, mode))
    return files


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, alexnet_jax\nassert alexnet_jax.__version__\n"
    code += "print([m for m in ('jax', 'flax', 'numpy', 'PIL', 'absl') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names():
    assert set(alexnet_jax.__all__) <= set(dir(alexnet_jax))
    for name in alexnet_jax.__all__:
        assert getattr(alexnet_jax, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = alexnet_jax.nonsense


def test_the_docstrings_examples():
    result = doctest.testmod(library)
    assert result.attempted >= 4
    assert result.failed == 0


def test_a_net_by_its_name_is_the_published_one():
    model = alexnet_jax.create()
    shapes = jax.eval_shape(model.init, jax.random.key(0))["params"]
    # The paper's 60 million parameters, counted by hand.
    assert sum(int(np.prod(x.shape)) for x in jax.tree.leaves(shapes)) == 60_965_224
    assert model.architecture.crop == 224


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: alexnet_jax.create("alexnet"), ValueError, "architecture='alexnet': there are alexnet_2012"),
        (lambda: alexnet_jax.create(classes=1), ValueError, "classes=1: it must be a whole number from 2"),
        (lambda: alexnet_jax.create(clases=10), ValueError, "clases is not an argument of alexnet_2012"),
        (lambda: alexnet_jax.create(width="half"), ValueError, "width='half': it must be a number"),
        (lambda: alexnet_jax.create(ROWS), TypeError, "an architecture is a name or a Table, not tuple"),
        (lambda: alexnet_jax.create(Table(ROWS[:2])), ValueError, "the last layer, relu1, is not Dense"),
        (lambda: alexnet_jax.create(Table(())), ValueError, "the table has no layers"),
        (
            lambda: alexnet_jax.create(Table(ROWS), classes=5),
            ValueError,
            "classes is not an argument for a table: crop, channels, compute_dtype",
        ),
        (
            lambda: alexnet_jax.create(Table(ROWS), crop="a"),
            ValueError,
            "crop='a': it must be a whole number",
        ),
        (
            lambda: alexnet_jax.create(Table(ROWS), crop=8.0),
            ValueError,
            "crop=8.0: it must be a whole number",
        ),
        (lambda: alexnet_jax.create(Table(ROWS), crop=-1), ValueError, "^crop=-1: it must be a whole number"),
        (lambda: alexnet_jax.create(Table(ROWS), channels=0), ValueError, "channels=0: it must be a whole"),
        (
            lambda: alexnet_jax.create(Table(ROWS), compute_dtype="nonsense"),
            ValueError,
            "compute_dtype='nonsense': it must be 'float32', 'bfloat16' or 'float64'",
        ),
        (lambda: alexnet_jax.load(7), TypeError, "load takes a path, str or pathlib.Path, not int"),
        (lambda: alexnet_jax.load("nowhere"), ValueError, "nowhere does not exist: load takes a workdir"),
    ],
)
def test_wrong_uses_of_create_and_load(call, kind, words):
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        call()


def test_a_net_is_one_line(small):
    assert repr(small) == "AlexNet(own, crop=8, channels=3, classes=5)"


def test_a_module_of_flax_linen(small):
    variables = small.init(jax.random.key(0))
    assert list(variables) == ["params"]
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    logits = small.apply(variables, x)
    by_hand = network.forward(small.architecture, None, variables["params"], x, wanted=("relu1", "fc3"))
    np.testing.assert_array_equal(logits, by_hand["fc3"])
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, small.init(jax.random.key(0), x)))
    same, state = small.apply(variables, x, capture_intermediates=True)
    np.testing.assert_array_equal(same, logits)
    assert set(state["intermediates"]) == {row.name for row in ROWS} | {"__call__"}
    np.testing.assert_array_equal(state["intermediates"]["relu1"]["__call__"][0], by_hand["relu1"])
    assert all(list(state["intermediates"][row.name]) == ["__call__"] for row in ROWS)
    assert all(len(state["intermediates"][row.name]["__call__"]) == 1 for row in ROWS)
    _, some = small.apply(variables, x, capture_intermediates=lambda module, _: module.name == "relu1")
    assert list(some["intermediates"]) == ["relu1"]


def test_dropout_really_drops(small):
    variables = small.init(jax.random.key(0))
    x = jnp.ones((64, 8, 8, 3))

    def run(seed):
        return small.apply(
            variables, x, train=True, rngs={"dropout": jax.random.key(seed)}, capture_intermediates=True
        )[1]["intermediates"]

    dropped = np.asarray(run(1)["drop2"]["__call__"][0])
    kept = np.asarray(run(1)["fc2"]["__call__"][0])
    zero = dropped == 0
    assert 0.4 < zero.mean() < 0.6
    np.testing.assert_array_equal(dropped[~zero], kept[~zero])
    assert not np.array_equal(dropped, run(2)["drop2"]["__call__"][0])


@pytest.mark.parametrize("shape", [(1, 2), (2, 2)])
@pytest.mark.parametrize("made_by", ["sharding", "jax"])
def test_two_towers_on_a_mesh(shape, made_by):
    """Also on one that `jax.make_mesh` makes by default, whose axes are Explicit."""
    rows = (ROWS[0], ROWS[1], Dense("fc2", 6, 0.3, 0.1, "own"), ROWS[3], ROWS[4])
    plain = alexnet_jax.create(Table(rows, 2), crop=8)
    mesh = (
        sharding.make_mesh(shape[0], shape[1], 2, 4)
        if made_by == "sharding"
        else jax.make_mesh(shape, ("data", "model"))
    )
    spread = alexnet_jax.create(Table(rows, 2), crop=8, mesh=mesh)
    variables = plain.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    options = {"train": True, "rngs": {"dropout": jax.random.key(1)}}
    assert_close(spread.apply(variables, x), plain.apply(variables, x), 1e-6)
    assert_close(spread.apply(variables, x[:3], **options), plain.apply(variables, x[:3], **options), 1e-6)
    assert_close(spread.apply(variables, x, **options), plain.apply(variables, x, **options), 1e-6)

    def gradient(model):
        return jax.grad(lambda v, x: jnp.square(model.apply(v, x)).sum(), (0, 1))(variables, jnp.asarray(x))

    assert_close(gradient(spread), gradient(plain), 1e-5)
    with pytest.raises(ValueError, match="the mesh has the axes"):
        alexnet_jax.create(Table(rows, 2), crop=8, mesh=jax.make_mesh((2,), ("towers",)))
    with pytest.raises(ValueError, match="the mesh's model axis has 2 devices, the net 1 tower"):
        alexnet_jax.create(Table(ROWS), crop=8, mesh=mesh)


def test_wrong_images_for_apply(small):
    variables = small.init(jax.random.key(0))
    with pytest.raises(TypeError, match=r"apply takes normalised images, float32 \(B, 8, 8, 3\), not uint8"):
        small.apply(variables, np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(TypeError, match="not list"):
        small.apply(variables, [1.0])
    with pytest.raises(ValueError, match=r"apply takes normalised images \(B, 8, 8, 3\), not \(8, 8, 3\)"):
        small.apply(variables, np.zeros((8, 8, 3), np.float32))


def test_nnx_takes_it(small):
    x = jnp.ones((2, 8, 8, 3))
    module = nnx.bridge.ToNNX(small, rngs=nnx.Rngs(0)).lazy_init(x)
    params = {name: module.conv1[name][...] for name in ("kernel", "bias")}
    assert params["kernel"].shape == (1, 3, 3, 3, 4)
    assert module(x).shape == (2, 5)


def test_a_hessian_against_products_with_vectors():
    rows = (
        Conv("conv1", 4, 3, 0.5, 0.1, "both", pad=(1, 1)),
        Activation("relu1", "tanh"),
        Dense("fc2", 3, 0.5, 0.0, "sum"),
    )
    with jax.enable_x64(True):
        loss, x, v = logarithm_of_logits(Table(rows), crop=6)
        product = jax.jvp(jax.grad(loss), (x,), (v,))[1]
        assert_close(jnp.tensordot(jax.hessian(loss)(x), v, 4), product, 1e-10)


def logarithm_of_logits(architecture, **arguments):
    """A number of a net in 64 bits, as a function of its images; images, and a direction."""
    arguments |= {"compute_dtype": "float64"}
    model = alexnet_jax.create(architecture, forward_mode=True, **arguments)
    backward = alexnet_jax.create(architecture, **arguments)
    variables = jax.tree.map(lambda x: x.astype(jnp.float64), model.init(jax.random.key(0)))
    # The published initial weights leave the deep layers all but zero.
    variables = jax.tree.map(lambda x: x * (0.1 / x.std()) if x.ndim > 2 else x, variables)
    net = model.architecture
    x, v = np.random.default_rng(0).normal(size=(2, 1, net.crop, net.crop, net.channels))

    def loss(x, trained=False):
        logits = (backward if trained else model).apply(variables, x)
        return jnp.log(jnp.square(logits).sum() + 1)

    return loss, jnp.asarray(x), jnp.asarray(v)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("alexnet_2012", {"width": 1 / 16, "crop": 64}),  # two towers, LRN, overlapping maximum
        ("torchvision", {"width": 1 / 16, "crop": 64}),
        ("cifar10_18", {}),  # maximum and average pooling, LRN
    ],
)
def test_derivatives_of_whole_nets_against_finite_differences(name, arguments):
    """Reverse and forward mode, and Hessian-vector products, in 64 bits."""
    with jax.enable_x64(True):
        loss, x, v = logarithm_of_logits(name, **arguments)
        difference = jax.jit(lambda f: (f(x + 1e-6 * v) - f(x - 1e-6 * v)) / 2e-6, static_argnums=0)
        slope = float(difference(loss))
        assert float(jax.jvp(loss, (x,), (v,))[1]) == pytest.approx(slope, rel=1e-6)
        # As it is trained: by the derivatives of our own.
        gradient = jax.grad(lambda x: loss(x, trained=True))
        assert float(jnp.vdot(gradient(x), v)) == pytest.approx(slope, rel=1e-6)
        product = jax.jit(lambda: jax.jvp(jax.grad(loss), (x,), (v,))[1])()
        assert float(jnp.linalg.norm(product)) > 1e-6
        assert_close(product, difference(gradient), 1e-5)


def test_a_loaded_net_is_a_pure_function_too(net, photographs):
    logits = net.apply(net.variables, net.preprocess(photographs))
    assert_close(jax.nn.softmax(logits), net.predict(photographs), 1e-5)
    assert net.variables == {"params": net.params}
    with pytest.raises(ValueError, match=r"the first argument of apply is net\.variables"):
        net.apply(net.params, net.preprocess(photographs))


def test_a_net_is_itself_alone(net):
    """Its arrays neither hash nor compare to one truth."""
    other = pickle.loads(pickle.dumps(net))
    assert net != other
    assert {net: "first", other: "second"}[net] == "first"


def test_every_door_gives_the_same(net, photographs):
    """Paths, strings, arrays and images of Pillow; library and command."""
    expected = net.predict(photographs)
    assert expected.shape == (3, len(net.class_names))
    by_command = predict.predict(net, photographs, 1)
    for row, answer in zip(expected, by_command, strict=True):
        assert answer["top5"][0]["probability"] == pytest.approx(float(row.max()), rel=1e-6)
    opened = [Image.open(file) for file in photographs]
    for images in (list(map(str, photographs)), opened, [np.asarray(image) for image in opened]):
        np.testing.assert_array_equal(net.predict(images), expected)
    assert_close(net.predict(photographs[1]), expected[1:2], 1e-5)
    whole = np.stack(
        [
            resize_center_crop(f.read_bytes(), Preprocessing(net.size, net.architecture.channels, True))
            for f in photographs
        ]
    )
    np.testing.assert_array_equal(net.predict(whole), expected)
    np.testing.assert_allclose(net.predict(photographs, views=10).sum(axis=1), 1, rtol=1e-5)
    values = net.features(photographs, ["relu1", "prob"])
    np.testing.assert_allclose(values["prob"], expected, rtol=1e-5)
    edge, crop = (net.size - net.architecture.crop) // 2, net.architecture.crop
    crops = whole[:, edge : edge + crop, edge : edge + crop]
    np.testing.assert_array_equal(net.features(crops, ["relu1"], cropped=True)["relu1"], values["relu1"])


WRONG = [
    (
        lambda net: net.predict(np.zeros((2, 72, 72, 1), np.float32)),
        TypeError,
        "an image is uint8 from 0 to 255",
    ),
    (lambda net: net.predict(np.zeros((2, 72, 72, 2), np.uint8)), ValueError, "an image is uint8"),
    (lambda net: net.predict(np.zeros(7, np.uint8)), ValueError, "images are uint8"),
    (lambda net: net.predict([]), ValueError, "no image was given"),
    (lambda net: net.predict(np.zeros((0, 72, 72, 1), np.uint8)), ValueError, "no image was given"),
    (
        lambda net: net.features(np.zeros((0, 9, 9, 3), np.uint8), ["relu1"]),
        ValueError,
        "no image was given",
    ),
    (lambda net: net.preprocess(np.zeros((0, 72, 72, 1), np.uint8)), ValueError, "no image was given"),
    (lambda net: net.predict(7), TypeError, "images are paths, arrays or images of Pillow, not int"),
    (lambda net: net.predict([7]), TypeError, "an image is a path, an array or an image of Pillow, not int"),
    (
        lambda net: net.predict(np.zeros((1, 9, 9, 3), np.uint8), views=5),
        ValueError,
        "views=5: there are 1 and 10",
    ),
    (lambda net: net.features(np.zeros((1, 9, 9, 3), np.uint8), ["fc99"]), ValueError, "layers: 'fc99'"),
    (
        lambda net: net.features(np.zeros((1, 9, 9, 3), np.uint8), [7]),
        TypeError,
        "names such as 'fc7', not int",
    ),
    (
        lambda net: net.features(np.zeros((1, 9, 9, 3), np.uint8), ["relu1"], cropped=True),
        ValueError,
        "images are uint8",
    ),
    (lambda net: net.predictor(1)(np.zeros((1, 9, 9, 1), np.uint8)), ValueError, "images are uint8"),
    (
        lambda net: net.predictor(1)(np.zeros((1, net.size, net.size, 1), np.float32)),
        TypeError,
        "images are uint8 from 0 to 255",
    ),
    (
        lambda net: activations.activations(net, np.zeros((1, 9, 9, 3), np.uint8), ["relu1"], 1),
        ValueError,
        "images are uint8",
    ),
]


@pytest.mark.parametrize(("call", "kind", "words"), WRONG)
def test_wrong_images(net, call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call(net)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_image_is_named(net, photographs, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    with pytest.raises(BadImage, match=r"notes\.png: not an image in one of the formats"):
        net.predict([photographs[0], tmp_path / "notes.png"])


@pytest.mark.parametrize(
    ("name", "words"),
    [("none.png", "No such file or directory"), ("", r"a folder; give its files, such as sorted\(")],
)
def test_a_path_that_is_no_file_is_a_value_error_that_names_it(net, tmp_path, name, words):
    with pytest.raises(ValueError, match=f"{tmp_path / name}: {words}") as caught:
        net.predict(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_second_call_compiles_nothing(net, photographs, caplog):
    views._compiled.cache_clear()
    compiled = []
    for _ in range(2):
        caplog.clear()
        with jax.log_compiles():
            net.predict(photographs, views=10)
        compiled.append(sum("Compiling" in record.getMessage() for record in caplog.records))
    assert compiled[0] > 0
    assert compiled[1] == 0


def test_a_net_is_shown_in_one_line_and_pickles(net, photographs):
    assert "\n" not in repr(net)
    assert len(repr(net)) < 200
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict(photographs), net.predict(photographs))
    assert again.config == net.config


def test_a_file_of_weights_is_loaded_too(net, workdir, tmp_path, photographs):
    from alexnet_jax.interop import convert

    convert.to_file(workdir, tmp_path / "weights.npz", "best")
    loaded = alexnet_jax.load(str(tmp_path / "weights.npz"))
    np.testing.assert_array_equal(loaded.predict(photographs), net.predict(photographs))
    assert loaded.class_names == net.class_names
    assert loaded.workdir == tmp_path / "weights.npz"


def test_batches_hold_every_training_image_once_an_epoch(digits_folder):
    x, y = zip(*alexnet_jax.batches("digits", data_dir=digits_folder, batch_size=50), strict=True)
    assert {(image.shape, image.dtype.name) for image in x} == {((50, 64, 64, 1), "float32")}
    assert {(label.shape, label.dtype.name) for label in y} == {((50,), "int32")}
    source = tfds.builder_from_directory(f"{digits_folder}/digits_72/1.0.0").as_data_source("train[:90%]")
    labels = [example["label"] for example in source]
    assert not np.array_equal(np.concatenate(y), labels)  # shuffled
    np.testing.assert_array_equal(np.sort(np.concatenate(y)), np.sort(labels))


@pytest.fixture(scope="module")
def moved_digits(digits_folder, tmp_path_factory):
    """The digits with a mean image that is 50 grey levels off: no net was trained with it."""
    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(digits_folder, folder, dirs_exist_ok=True)
    (file,) = folder.glob("*/*/statistics.npz")
    statistics = dict(np.load(file))
    np.savez(file, **(statistics | {"mean": statistics["mean"] + 50}))
    return folder


FROM_A_NET = f"""
    config = io.load(Path({str(RUN / "workdir" / "config.json")!r}))[0]
    config.train.init_from = {str(RUN / "workdir")!r}
"""


@pytest.mark.parametrize(
    ("lines", "batch_size", "count"),
    [
        # Of 1,500 images a tenth is held out: 1,350 / 64 = 21.1.
        ("config.data.train_split, config.data.validation_split = 'train', 'validation'", 64, 22),
        # 2,048 are halved until they are no more than the images.
        ("config.train.min_steps = 2\n    config.data.batch_size = 2048", 1024, 2),
        (FROM_A_NET, 64, 22),
    ],
    ids=["held out", "few images", "from a net"],
)
def test_batches_are_those_of_the_training_loop(
    moved_digits, tmp_path, monkeypatch, lines, batch_size, count
):
    file = tmp_path / "mine.py"
    file.write_text(
        "from pathlib import Path\n\nfrom alexnet_jax.config import find, io\n\n\ndef get_config():\n"
        f"    config = find.base(__file__, 'digits')\n    {lines}\n"
        "    config.data.validation_split = config.data.validation_split or 'train[90%:]'\n"
        f"    config.train.epochs, config.data.dir = 1.0, {str(moved_digits)!r}\n    return config\n"
    )
    config = find.load_file(file)
    ours = list(alexnet_jax.batches(file, batch_size=config.data.batch_size, seed=config.seed))
    assert [len(y) for _, y in ours] == [batch_size] * count
    # Parameters, which take long to draw, decide nothing of it.
    monkeypatch.setattr(resume, "start", lambda *_: resume.Start(0, SimpleNamespace(params=None)))
    group = Group()
    run = loop.open_run(prepare_run(config), tmp_path, Stop(group), group, shown=False)
    with run.opened():
        for number, (x, y) in enumerate(ours):
            batch = next(run.feed.batches)
            np.testing.assert_array_equal(y, batch["label"])
            if number < 2:
                seen = normalise(batch, run.mean, run.program.normalization)
                np.testing.assert_allclose(x, seen, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"epochs": 0}, "config.train.epochs=0: it must be a number above 0"),
        ({"epochs": -1}, "config.train.epochs=-1: it must be"),
        ({"epochs": float("nan")}, "config.train.epochs=nan: it must be"),
        ({"seed": -1}, "config.seed=-1: it must be a whole number from 0"),
        ({"seed": 2**32}, "config.seed=4294967296: it must be"),
        ({"batch_size": -1}, "config.data.batch_size=-1: it must be"),
        ({"batch_size": 2.5}, "config.data.batch_size=2.5: it must be"),
        ({"batch_size": 5000}, "config.data.batch_size=5000 is more than the 1350 images of 'train"),
    ],
    ids=str,
)
def test_batches_that_train_would_not_make_are_refused(digits_folder, arguments, words):
    with pytest.raises(UsageError, match=words) as caught:
        next(alexnet_jax.batches("digits", data_dir=digits_folder, **arguments))
    assert "\n" not in str(caught.value)


def test_images_are_decoded_a_batch_ahead_and_no_further(net, monkeypatch):
    submitted = []

    class Counted(ThreadPoolExecutor):
        def submit(self, *arguments, **named):
            submitted.append(arguments)
            return super().submit(*arguments, **named)

    monkeypatch.setattr(library, "ThreadPoolExecutor", Counted)
    ahead = net.config.evaluate.batch_size
    squares = net._squares([np.full((72, 72, 1), number % 256, np.uint8) for number in range(3 * ahead)])
    assert next(squares).max() == 0
    assert len(submitted) == ahead + 1
    rest = [int(square.max()) for square in squares]
    assert rest == [number % 256 for number in range(1, 3 * ahead)]  # in their order, each once
    squares.close()
