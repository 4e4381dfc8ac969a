"""The same training as a PyTorch program: data in memory, crops and flips on whole batches, its own process.

Cross-entropy and `torch.optim.SGD` at the recipe's first learning rates; it logs as often as the recipe says,
and validates after each epoch.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from alexnet_jax.benchmark import timing
from alexnet_jax.benchmark.torch_peer import TorchVariant, first_pad
from alexnet_jax.benchmark.torch_process import Contestant, TorchJob, TorchProcess, serve, updates_of
from alexnet_jax.data.augment import center_offset
from alexnet_jax.training.loop import Run


@dataclasses.dataclass(frozen=True)
class LoopJob(TorchJob):
    """Say what the process is to train.

    Attributes:
      images, labels: that train, uint8 (N, S, S, C) and int32 (N,).
      held_out: the same of those that validate.
      mean: float32, what is subtracted: (crop, crop, C) or (C,).
      std: the divisor in grey levels.
      random_crop, flip: whether they are drawn.
      axes: (C, C), along which lighting is drawn, in grey levels; None: no lighting.
      log_every_steps: when the loss is read.
      evaluate_batch: images of a batch of validation.
    """

    images: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    labels: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    held_out: tuple[np.ndarray, np.ndarray] | None = None
    mean: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    std: tuple[float, ...] = (1.0,)
    random_crop: bool = False
    flip: bool = False
    axes: np.ndarray | None = None
    log_every_steps: int = 100
    evaluate_batch: int = 100


class Program(Contestant):
    """One variant of the program."""

    job: LoopJob

    def __init__(self, job: LoopJob, variant: TorchVariant):
        super().__init__(dataclasses.replace(job, batches=0), variant)
        self.job = job
        device = job.device

        def placed(x: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(x)).to(device)

        self.images, self.labels = placed(job.images), placed(job.labels).long()
        self.held_out = tuple(map(placed, job.held_out)) if job.held_out is not None else ()
        self.mean, self.std = placed(job.mean), torch.tensor(job.std, device=device)
        self.axes = None if job.axes is None else placed(job.axes)
        self.log: list[tuple[float, float]] = []

    def epoch(self, number: int) -> None:
        """Train on all images once, in a new order, then validate."""
        job = self.job
        order = torch.randperm(len(self.images), device=job.device)
        loss_sum, wrong = torch.zeros((), device=job.device), torch.zeros((), device=job.device)
        self.net.train()
        for step, start in enumerate(range(0, len(order), job.batch_size), 1):
            rows = order[start : start + job.batch_size]
            x, y = self.normalised(self.augmented(self.images[rows])), self.labels[rows]
            self.update.zero_grad(set_to_none=True)
            with self._precision():
                logits = self.net(x)
                loss = functional.cross_entropy(logits, y)
            loss.backward()
            self.update.step()
            loss_sum += loss.detach()
            wrong += (logits.detach().argmax(1) != y).sum()
            if step % job.log_every_steps == 0:
                self.log.append((loss_sum.item(), wrong.item()))
                loss_sum.zero_()
                wrong.zero_()
        if self.held_out:
            self.log.append(self.validated(*self.held_out))

    def augmented(self, images: Tensor) -> Tensor:
        """Return crops of whole images (B, S, S, C) as they are drawn, some mirrored."""
        crop, job = self.job.architecture.crop, self.job
        images = cropped(images, crop) if job.random_crop else self.centred(images)
        if job.flip:
            mirrored = torch.rand(len(images), device=images.device) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(2), images)
        return images

    def centred(self, images: Tensor) -> Tensor:
        """Return the centre of whole images."""
        crop = self.job.architecture.crop
        edge = center_offset(images.shape[1], crop)
        return images[:, edge : edge + crop, edge : edge + crop]

    def normalised(self, images: Tensor, train: bool = True) -> Tensor:
        """Return what the net reads, (B, C, H, W), of crops (B, H, W, C)."""
        x = images.float() - self.mean
        if self.axes is not None and train:
            draws = torch.randn(len(x), self.axes.shape[1], device=x.device)
            x = x + (draws @ self.axes.T)[:, None, None]
        x = (x / self.std).permute(0, 3, 1, 2)  # channels last in memory
        if not self.variant.channels_last:
            x = x.contiguous()
        before, after = first_pad(self.job.architecture)
        return functional.pad(x, (before, after) * 2) if before or after else x

    def validated(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Return the summed loss and the errors of the centres of images."""
        self.net.eval()
        loss, wrong = torch.zeros((), device=images.device), torch.zeros((), device=images.device)
        for start in range(0, len(images), self.job.evaluate_batch):
            part = slice(start, start + self.job.evaluate_batch)
            with torch.inference_mode(), self._precision():
                logits = self.net(self.normalised(self.centred(images[part]), train=False))
                y = labels[part].long()
                loss += functional.cross_entropy(logits, y, reduction="sum")
                wrong += (logits.argmax(1) != y).sum()
        return loss.item(), wrong.item()


def cropped(images: Tensor, crop: int) -> Tensor:
    """Return a random crop of each image (B, S, S, C), by a copy for each row and each column of offsets."""
    batch, size, _, channels = images.shape
    choices = size - crop + 1
    top, left = (torch.randint(choices, (batch,), device=images.device) for _ in range(2))
    rows = torch.empty((batch, crop, size, channels), dtype=images.dtype, device=images.device)
    found = torch.empty((batch, crop, crop, channels), dtype=images.dtype, device=images.device)
    for offset in range(choices):
        chosen = top == offset
        rows[chosen] = images[chosen, offset : offset + crop]
    for offset in range(choices):
        chosen = left == offset
        found[chosen] = rows[chosen, :, offset : offset + crop]
    return found


@contextlib.contextmanager
def running(here: Run) -> Iterator[TorchProcess]:
    """Start the process for an opened run whose images lie in memory; it is killed when the block ends.

    Raises:
      RunFailure: it does not start, or dies while it measures.
    """
    job = job_of(here)
    with timing.child_process(_serve, job) as pipe:
        yield TorchProcess(pipe)


def job_of(here: Run) -> LoopJob:
    """Return the job of an opened run."""
    config, training, validation = here.config, here.feed.training, here.feed.validation
    assert training is not None
    axes, statistics = None, here.setup.dataset.statistics
    if config.data.lighting:
        axes = config.data.lighting * statistics.eigenvectors * np.sqrt(statistics.eigenvalues)
    on_cpu = here.setup.mesh.devices.flat[0].platform == "cpu"
    return LoopJob(
        architecture=here.setup.architecture,
        momentum=config.optimizer.momentum,
        updates=updates_of(config, here.rules),
        batch_size=config.data.batch_size,
        device="cpu" if on_cpu else "cuda",
        images=np.asarray(training.data),
        labels=np.asarray(training.labels),
        held_out=None if validation is None else (np.asarray(validation.data), np.asarray(validation.labels)),
        mean=np.asarray(here.mean),
        std=config.data.input_std,
        random_crop=config.data.random_crop,
        flip=config.data.flip,
        axes=None if axes is None else axes.astype(np.float32),
        log_every_steps=config.train.log_every_steps,
        evaluate_batch=config.evaluate.batch_size,
    )


def _serve(pipe: Any, job: LoopJob) -> None:
    def timed(program: Contestant, what: str) -> Callable[[], float]:
        assert isinstance(program, Program)

        def once() -> float:
            started = time.perf_counter()
            program.epoch(0)
            program.wait()
            return 1 / (time.perf_counter() - started)

        return once

    serve(pipe, job, Program, timed)
