"""PyTorch's program: its crops and flips are of the images, and it learns what they show."""

import numpy as np
import pytest

from alexnet_jax.benchmark import loop
from tests.training.test_resident import dense

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def test_crops_are_windows_of_their_images_wherever_they_lie() -> None:
    from alexnet_jax.benchmark.torch_loop import cropped

    images = torch.arange(200 * 6 * 6 * 2).reshape(200, 6, 6, 2)
    found = cropped(images, 4)
    corners = set()
    for image, crop in zip(images, found, strict=True):
        first = int(crop[0, 0, 0] - image[0, 0, 0]) // 2
        top, left = divmod(first, 6)
        assert torch.equal(crop, image[top : top + 4, left : left + 4])
        corners.add((top, left))
    assert len(corners) == 9


def test_it_reads_what_our_net_reads_and_learns(digits_folder: str) -> None:
    from alexnet_jax.benchmark import torch_loop
    from alexnet_jax.benchmark.torch_peer import TorchVariant
    from alexnet_jax.model import inputs

    config = dense(digits_folder)
    config.data.mean = "centre"
    with loop.opened(config) as here:
        job = torch_loop.job_of(here)
        training, validation = here.feed.training, here.feed.validation
        assert training is not None
        assert validation is not None
        batch = next(iter(validation.in_order(50)))
        view = inputs.view(batch["image"], 4, 4, False, 64)
        ours = np.asarray(inputs.normalise(view, here.mean, here.program.normalization))
    for variant in (TorchVariant(), TorchVariant(channels_last=True)):
        torch.manual_seed(0)
        program = torch_loop.Program(job, variant)
        theirs = program.normalised(program.centred(program.held_out[0][:50]))
        np.testing.assert_allclose(theirs.permute(0, 2, 3, 1).numpy(), ours, rtol=1e-5, atol=1e-5)
        assert theirs.is_contiguous(
            memory_format=torch.channels_last if variant.channels_last else torch.contiguous_format
        )
        for number in range(3):
            program.epoch(number)
        # Two lines of 50 steps an epoch, and the validation of 150 images: guessing is wrong 135 times.
        errors = [wrong for _, wrong in program.log[2::3]]
        assert len(program.log) == 9
        assert errors[-1] < 60


def test_the_process_answers(digits_folder: str) -> None:
    from alexnet_jax.benchmark import torch_loop

    with loop.opened(dense(digits_folder)) as here, torch_loop.running(here) as peer:
        assert {variant.band for variant in peer.variants} == {False}  # the net normalises nothing
        assert peer.run(peer.variants[0], "epoch") > 0
        assert peer.failed == {}
