"""The measurements of the step by hand and at toy size, and their peer: the same net in PyTorch."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict

from alexnet_jax.benchmark import start, step, timing
from alexnet_jax.errors import UsageError
from alexnet_jax.model import architectures, sharding
from configs import digits, imagenet
from tests.model.helpers import TABLES, paper, table


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    monkeypatch.setattr(step, "SECONDS", 0.01)
    monkeypatch.setattr(step, "RUNS", 1)


def tiny() -> Any:
    """Two fully connected layers: soon compiled."""
    config = digits.get_config()
    config.data.batch_size, config.data.crop = 4, 8
    config.model = ConfigDict(
        {"architecture": "fully_connected", "classes": 10, "hidden": (15,), "activation": "relu",
         "compute_dtype": "float32"}
    )  # fmt: skip
    config.mesh.data = config.mesh.model = 1
    return config


def small() -> Any:
    """The paper's table, narrow."""
    config = digits.get_config()
    config.data.batch_size = 4
    config.model.width = 0.0625
    config.mesh.data = config.mesh.model = 1
    return config


def test_operations_of_the_papers_net() -> None:
    architecture = architectures.build(imagenet.get_config().model, 224, 3)
    forward, train = step.flops(architecture)
    # By hand: weights times places, layer by layer, of the table in the paper's figure 2.
    conv1 = 11 * 11 * 3 * 96 * 55 * 55
    rest = (
        5 * 5 * 48 * 256 * 27**2 + (9 * 256 * 384 + 9 * 192 * 384 + 9 * 192 * 256) * 13**2
        + 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    )  # fmt: skip
    assert forward == 2 * (conv1 + rest)
    assert train == 2 * (2 * conv1 + 3 * rest)


def test_repeated_counts_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    numbers: list[int] = []

    def call(number: int) -> None:
        clock[0] += 100.0 if number == 0 else 0.5  # the first one compiles
        numbers.append(number)

    once = timing.repeated(call, lambda: None, 2.0)
    assert once() == 2.0
    assert numbers == [0, 1, 2, 3, 4, 5]  # compiled, timed alone, then four in two seconds
    assert once() == 2.0
    assert len(numbers) == 10


def test_a_row_without_a_peer_and_one_where_less_is_better() -> None:
    alone = timing.row("a", "images/s", [1.0, 3.0], None, (), "cpu", {})
    assert (alone["median"], alone["peer"], alone["peer_median"], alone["ratio"]) == (2.0, None, None, None)
    less = timing.row("b", "s", [2.0], "cold", [6.0], "cpu", {})
    assert less["ratio"] == 3.0
    lines = timing.table([alone, less]).splitlines()
    assert lines[1].split() == ["a", "images/s", "2", "(1", "to", "3)"]
    assert lines[2].endswith("3.00")


def test_operations_are_summed_over_lines_and_steps() -> None:
    def event(name: str, took: float, **stats: Any) -> Any:
        return SimpleNamespace(name=name, duration_ns=took, stats=list(stats.items()))

    lines = [
        SimpleNamespace(events=[event("dot.1", 2e9, hlo_op="dot.1"), event("end: dot.1", 5e9, _ct=0)]),
        SimpleNamespace(events=[event("dot.1", 1e9, hlo_op="dot.1"), event("copy", 4e9, hlo_op="copy")]),
    ]
    profile = SimpleNamespace(planes=[SimpleNamespace(lines=lines)])
    assert step.operation_seconds(profile).most_common() == [("copy", 4.0), ("dot.1", 3.0)]


def test_operations_of_a_gpu() -> None:
    # Kernels as an H100's profile names them: a convolution's two, and one that a command buffer runs.
    def event(name: str, took: float, operation: str) -> Any:
        return SimpleNamespace(name=name, duration_ns=took, stats=[("hlo_op", operation)])

    convolution = "cudnn-conv-bias-activation.25"
    lines = [
        SimpleNamespace(
            events=[
                event("void nhwcAddPaddingKernel<...>", 1e9, convolution),
                event("sm80_xmma_fprop_implicit_gemm_indexed_bf16bf16_bf16f32_f32", 3e9, convolution),
                event("loop_convert_slice_fusion_1", 2e9, "command_buffer_123"),
                event(
                    "void cutlass::Kernel2<cutlass_80_tensorop<128, 256> >(Params)", 1e9, "command_buffer_7"
                ),
            ]
        )
    ]
    took = step.operation_seconds(SimpleNamespace(planes=[SimpleNamespace(lines=lines)]))
    assert took.most_common() == [
        (convolution, 4.0),
        ("loop_convert_slice_fusion_1", 2.0),
        ("cutlass::Kernel2", 1.0),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "bfloat16"), ("float32", "tf32")])
def test_a_gpu_is_compared_with_forms_of_its_own_precision(dtype: str, precision: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from alexnet_jax.benchmark import torch_peer

    forms = torch_peer.forms("cuda", dtype)
    assert {form.precision for form in forms} == {precision}
    assert len({form.words for form in forms}) == len(forms) == 6


@pytest.mark.parametrize("make", [tiny, pytest.param(small, marks=pytest.mark.slow)])
def test_measures(short: None, make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make()
    step.run(config, "", tmp_path / "speed.png")
    rows = json.loads((tmp_path / "speed.json").read_text())
    assert (tmp_path / "speed.png").stat().st_size > 10_000
    by_name = {row["name"]: row for row in rows}
    for name in ("step.forward.b4", "step.train.b4"):
        row = by_name[name]
        assert row["unit"] == "images/s"
        assert 0 < row["min"] <= row["median"] <= row["max"]
        share = by_name[f"{name}.flops"]
        assert share["ratio"] == pytest.approx(share["median"] / share["peer_median"])
        assert by_name[f"{name}.compile"]["median"] > 0
    architecture = architectures.build(config.model, config.data.crop, 1)
    names = {name.split(".")[2] for name in by_name if name.startswith("step.layer.")}
    assert names == {layer.name for layer in architecture.layers}
    parameters = sum(shape.parameters for shape in architectures.shapes(architecture).values())
    assert by_name["step.train.b4.memory"]["median"] > 2 * 4 * parameters / 2**20  # velocities too
    assert 1 <= sum(name.startswith("step.operation.") for name in by_name) <= step.MOST_EXPENSIVE
    assert "most expensive operations" in capsys.readouterr().out


@pytest.mark.slow
def test_measures_on_meshes(short: None) -> None:
    config = small()
    config.mesh.data, config.mesh.model = 2, 2
    rows, notes = step.measure(config, False, 1)
    assert rows[0]["device"].startswith("4 x ")
    assert any("mesh of one device only" in note for note in notes)


def test_wrong_uses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--peer=caffe"):
        step.run(small(), "caffe", tmp_path / "x.json")
    with pytest.raises(UsageError, match="does not exist"):
        step.run(small(), "", tmp_path / "no" / "x.json")


@pytest.mark.slow
def test_start() -> None:
    [row] = start.measure(tiny(), runs=1)
    assert row["name"] == "start.warm.b4"
    assert row["unit"] == "s"
    assert row["ratio"] > 1


def random_params(architecture: architectures.Architecture) -> Any:
    draw = np.random.default_rng(0)

    def weights(shape: tuple[int, ...]) -> np.ndarray:
        seen = np.prod(shape[-4:-1]) if len(shape) > 3 else shape[1]
        return draw.normal(0, seen**-0.5, shape).astype(np.float32)

    return {
        name: {"kernel": weights(shape.kernel), "bias": draw.normal(0, 0.1, shape.bias).astype(np.float32)}
        for name, shape in architectures.shapes(architecture).items()
        if shape.kernel
    }


NETS = [
    lambda: paper(),
    lambda: paper(towers=1),
    lambda: paper(communicate_at=()),
    lambda: paper(communicate_at=("conv4",), pool_size=2, activation="tanh"),
    *[lambda name=name: table(name) for name in TABLES],
]


@pytest.mark.slow
@pytest.mark.parametrize("make", NETS, ids=["paper", "one tower", "never", "conv4 tanh", *TABLES])
def test_the_peer_is_the_same_net(make: Any) -> None:
    torch = pytest.importorskip("torch")
    from alexnet_jax.benchmark import torch_peer

    architecture = make()
    params = random_params(architecture)
    side = architecture.crop
    draw = np.random.default_rng(1)
    x = draw.normal(0, 1, (4, side, side, architecture.channels)).astype(np.float32)
    mesh = sharding.make_mesh(1, 1, architecture.towers, 4)
    ours = jax.jit(lambda p, x: sharding.forward(architecture, mesh, p, x)[architecture.logits])(params, x)
    before, after = torch_peer.first_pad(architecture)
    padded = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0))).transpose(0, 3, 1, 2)
    for band in (False, True):
        net: Any = torch_peer.Net(architecture, band)
        net.load(params)
        net.eval()
        for layout in (torch.contiguous_format, torch.channels_last):
            with torch.inference_mode():
                theirs = net.to(memory_format=layout)(torch.tensor(padded).to(memory_format=layout)).numpy()
            assert np.abs(theirs - ours).max() <= 1e-4 * np.abs(ours).max()
    assert sum(p.numel() for p in net.parameters()) == sum(np.size(leaf) for leaf in jax.tree.leaves(params))


@pytest.mark.slow
def test_the_peers_steps_give_the_same_losses() -> None:
    torch = pytest.importorskip("torch")
    from alexnet_jax.benchmark import torch_peer
    from alexnet_jax.training import step as training_step
    from tests.model import helpers

    architecture = paper(dropout=0.0)
    program = helpers.program(architecture, 1, 1)
    params = random_params(architecture)
    batch = helpers.batch(architecture, 4) | {
        "flip": np.zeros(4, bool), "lighting": np.zeros((4, 3), np.float32)
    }  # fmt: skip
    mean = np.full((64, 64, 3), 127.5, np.float32)
    state = training_step.init_state(program, jax.tree.map(jnp.asarray, params))
    rate = 1e-4
    rates = jax.tree.map(lambda x: jnp.float32(rate), params)
    update = training_step.compiled_train_step(program, state)
    ours = []
    for _ in range(4):
        state, sums = update(state, training_step.to_device(batch, program.mesh), jnp.asarray(mean), rates)
        ours.append(float(sums.loss / sums.count))

    rule = ((rate, 0.0005), (rate, 0.0005))
    training = torch_peer.Training(0.9, dict.fromkeys(params, rule))
    peer = torch_peer.Contestant(architecture, training, torch_peer.Form(), 4, 1, "cpu")
    peer.net.load(params)
    before, after = torch_peer.first_pad(architecture)
    x = np.pad(batch["image"] - mean, ((0, 0), (before, after), (before, after), (0, 0)))
    peer.data = [(torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(batch["label"]).long())]
    theirs = []
    for number in range(4):
        with torch.no_grad():
            logits = peer.net(peer.data[0][0])
            theirs.append(float(torch.nn.functional.cross_entropy(logits, peer.data[0][1])))
        peer.train(number)
    assert abs(ours[3] - ours[0]) > 0.01 * ours[0]  # it learns, and momentum and decay act
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@pytest.mark.slow
def test_measures_beside_torch(short: None) -> None:
    pytest.importorskip("torch")
    rows, notes = step.measure(tiny(), True, 1)
    named = {row["name"]: row for row in rows}
    assert named["step.train.b4"]["peer"] in ("torch eager float32", "torch eager float32 channels-last")
    assert named["step.train.b4"]["ratio"] > 0
    assert "step.train.b4.vs_eager_float32_band_LRN" in named
    assert any(note.startswith("threads: XLA") for note in notes)
