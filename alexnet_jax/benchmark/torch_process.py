"""PyTorch's side of a measurement: a process of its own without JAX, with its own threads and memory.

Training is cross-entropy and `torch.optim.SGD` with momentum and weight decay.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from ml_collections import ConfigDict
from torch import nn
from torch.nn import functional

from alexnet_jax import runtime
from alexnet_jax.benchmark import timing
from alexnet_jax.benchmark.torch_peer import TorchNet, TorchVariant, first_pad, variants
from alexnet_jax.errors import RunFailure
from alexnet_jax.model.specs import Architecture
from alexnet_jax.training import optimizer


@dataclasses.dataclass(frozen=True)
class TorchJob:
    """Say what the process is to measure.

    Attributes:
      architecture: the net.
      momentum: of the update.
      updates: {layer: ((learning rate, weight decay) of its kernel, the same of its bias)}.
      batch_size: images.
      batches: how many lie on the device and are used in turn.
      device: 'cpu' or 'cuda'.
      seconds: how long a run lasts, about.
    """

    architecture: Architecture
    momentum: float
    updates: Mapping[str, tuple[tuple[float, float], ...]]
    batch_size: int
    batches: int = 1
    device: str = "cpu"
    seconds: float = 1.0


class Contestant:
    """One variant of the net on a device, with its batches."""

    def __init__(self, job: TorchJob, variant: TorchVariant):
        self.variant, self.device = variant, job.device
        net: Any = TorchNet(job.architecture, variant.band)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.01)
        layout = torch.channels_last if variant.channels_last else torch.contiguous_format
        net = net.to(device=job.device, memory_format=layout)
        self.update = _optimizer(net, job)
        self.net: Any = torch.compile(net) if variant.compiled else net
        before, after = first_pad(job.architecture)
        side, channels = job.architecture.crop, job.architecture.channels
        self.data = []
        for _ in range(job.batches):
            images = torch.randn(job.batch_size, channels, side, side) * 70
            x = functional.pad(images, (before, after) * 2)
            labels = torch.randint(job.architecture.classes, (job.batch_size,))
            self.data.append((x.to(device=job.device, memory_format=layout), labels.to(job.device)))

    def _precision(self) -> Any:
        allowed = self.variant.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed
        return torch.autocast(self.device, torch.bfloat16, enabled=self.variant.precision == "bfloat16")

    def forward(self, number: int) -> None:
        """Run the net in use, without gradients."""
        self.net.eval()
        with torch.inference_mode(), self._precision():
            self.net(self.data[number % len(self.data)][0])

    def train(self, number: int) -> None:
        """Run the whole training step."""
        self.net.train()
        self.update.zero_grad(set_to_none=True)
        x, labels = self.data[number % len(self.data)]
        with self._precision():
            loss = functional.cross_entropy(self.net(x), labels)
        loss.backward()
        self.update.step()

    def wait(self) -> None:
        """Wait until the device has done all that was asked for."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def _optimizer(net: TorchNet, job: TorchJob) -> torch.optim.Optimizer:
    """Return `torch.optim.SGD` with a group of parameters for each learning rate and decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for layer, (kernel, bias) in job.updates.items():
        for name, parameter in net.get_submodule(layer).named_parameters():
            groups.setdefault(bias if name.endswith("bias") else kernel, []).append(parameter)
    return torch.optim.SGD(
        [{"params": found, "lr": rate, "weight_decay": decay} for (rate, decay), found in groups.items()],
        momentum=job.momentum,
        fused=job.device == "cuda",
    )


class TorchProcess:
    """The process, as its parent sees it.

    Attributes:
      threads: that PyTorch uses.
      variants: those that it measures.
      failed: why a variant does not run here, by pass and variant.
    """

    def __init__(self, pipe: Any):
        self._pipe = pipe
        self.failed: dict[str, str] = {}
        self.threads, self.variants = self._receive("did not start")

    def _receive(self, words: str) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise RunFailure(f"the process that runs PyTorch {words}") from None

    def run(self, variant: TorchVariant, what: str) -> float:
        """Return the calls a second of 'forward' or 'train' in one run; 0 where it does not run here."""
        name = f"{what}, {variant.name}"
        if name in self.failed:
            return 0.0
        self._pipe.send((variant, what))
        answer: float | str = self._receive(f"died in {name}")
        if isinstance(answer, str):
            self.failed[name], answer = answer, 0.0
        return answer


@contextlib.contextmanager
def running(job: TorchJob) -> Iterator[TorchProcess]:
    """Start the process; it is killed when the block ends.

    Raises:
      RunFailure: it does not start, or dies while it measures.
    """
    with timing.child_process(_serve, job) as pipe:
        yield TorchProcess(pipe)


def updates_of(
    config: ConfigDict, rules: Mapping[str, optimizer.LayerRule]
) -> dict[str, tuple[tuple[float, float], ...]]:
    """Return `TorchJob.updates` of a config: its first learning rates, and weight decays."""
    rates = optimizer.learning_rates(rules, config, optimizer.PlateauState(), 0.0)
    return {
        name: tuple((rates[name][leaf], getattr(rule, leaf).weight_decay) for leaf in ("kernel", "bias"))
        for name, rule in rules.items()
    }


def _serve(pipe: Any, job: TorchJob) -> None:
    def timed(found: Contestant, what: str) -> Callable[[], float]:
        return timing.repeated(getattr(found, what), found.wait, job.seconds)

    serve(pipe, job, Contestant, timed)


def serve(
    pipe: Any,
    job: Any,
    make: Callable[[Any, TorchVariant], Contestant],
    timed: Callable[[Contestant, str], Callable[[], float]],
) -> None:
    """Answer one message after the other until the process is killed.

    The first answer is its threads and variants. A message (variant, what) is answered with the rate of a
    run, or with the error as a text.

    Args:
      pipe: to the parent.
      job: what is measured.
      make: gives a contestant of the job and a variant.
      timed: gives a function that does one run of what a contestant can do, and returns its rate.
    """
    torch.set_num_threads(runtime.cores())
    torch.backends.cudnn.benchmark = True
    pipe.send((torch.get_num_threads(), variants(job.device, job.architecture)))
    ready: dict[TorchVariant, Any] = {}
    runs: dict[tuple[TorchVariant, str], Callable[[], float]] = {}
    while True:
        variant, what = pipe.recv()
        try:
            if (variant, what) not in runs:
                if variant not in ready:
                    ready[variant] = make(job, variant)
                runs[variant, what] = timed(ready[variant], what)
            pipe.send(runs[variant, what]())
        except Exception as error:  # a variant that does not run here, such as one that needs a compiler
            pipe.send(f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}")
        time.sleep(0.05)  # until its threads have stopped looking for work
