"""The measurements' peer is the same net in PyTorch."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from alexnet_jax.model import network, sharding
from alexnet_jax.model.specs import LRN
from tests.model.helpers import TABLES, paper, random_params, table

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "bfloat16"), ("float32", "tf32")])
def test_a_gpu_is_compared_with_variants_of_its_own_precision(dtype: str, precision: str) -> None:
    from alexnet_jax.benchmark import torch_peer

    net = dataclasses.replace(paper(), compute_dtype=dtype)
    variants = torch_peer.variants("cuda", net)
    assert variants == [torch_peer.TorchVariant(precision, channels_last=True, compiled=True, band=True)]
    without = dataclasses.replace(net, layers=[x for x in net.layers if not isinstance(x, LRN)])
    assert [variant.band for variant in torch_peer.variants("cuda", without)] == [False]
    assert len(torch_peer.variants("cpu", without)) == 3  # none with another normalisation


NETS = [
    lambda: paper(),
    lambda: paper(towers=1),
    lambda: paper(communicate_at=()),
    lambda: paper(communicate_at=("conv4",), pool_size=2, activation="tanh"),
    *[lambda name=name: table(name) for name in TABLES],
]


@pytest.mark.parametrize("make", NETS, ids=["paper", "one tower", "never", "conv4 tanh", *TABLES])
def test_the_peer_is_the_same_net(make: Any) -> None:
    from alexnet_jax.benchmark import torch_peer

    architecture = make()
    params = random_params(architecture)
    side = architecture.crop
    draw = np.random.default_rng(1)
    x = draw.normal(0, 1, (4, side, side, architecture.channels)).astype(np.float32)
    mesh = sharding.make_mesh(1, 1, architecture.towers, 4)
    ours = jax.jit(lambda p, x: network.forward(architecture, mesh, p, x)[architecture.logits])(params, x)
    before, after = torch_peer.first_pad(architecture)
    padded = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0))).transpose(0, 3, 1, 2)
    for band in (False, True):
        net: Any = torch_peer.TorchNet(architecture, band)
        net.load(params)
        net.eval()
        for layout in (torch.contiguous_format, torch.channels_last):
            with torch.inference_mode():
                theirs = net.to(memory_format=layout)(torch.tensor(padded).to(memory_format=layout)).numpy()
            assert np.abs(theirs - ours).max() <= 1e-4 * np.abs(ours).max()
    assert sum(p.numel() for p in net.parameters()) == sum(np.size(leaf) for leaf in jax.tree.leaves(params))
