"""What commands that compute share: settings before JAX starts, and the net that they use."""

import os
import sys
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from alexnet_jax import program, runtime, signals
from alexnet_jax.commands.command import Request
from alexnet_jax.errors import UsageError

if TYPE_CHECKING:
    from alexnet_jax.workdir.trained import TrainedNet


def before_jax(config: ConfigDict, keep_compiled: bool = True) -> None:
    """Set what malloc, JAX and XLA read when they start. Call it before JAX is imported and threads run.

    Args:
      config: of the net.
      keep_compiled: whether compiled programs are kept from one start to the next.

    Raises:
      UsageError: the config computes in float64, for which JAX is not set.
    """
    runtime.retain_malloc_heap()
    signals.watch()
    if keep_compiled:
        _keep_compiled_programs()
    if "float64" in dict(config.model).values() and not os.environ.get("JAX_ENABLE_X64"):
        raise UsageError("config.model.compute_dtype='float64' needs JAX_ENABLE_X64=1 in the environment")
    if config.train.deterministic:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"


def _keep_compiled_programs() -> None:
    try:
        folder = runtime.compilation_cache()
    except UsageError as error:
        print(f"{program.name()}: compiled programs are not kept: {error}", file=sys.stderr)
        return
    if folder:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def load_net(request: Request) -> "TrainedNet":
    """Return the net in `--workdir` at `--checkpoint`; say which keys make it another than was trained.

    Raises:
      UsageError, RunFailure: as `workdir.trained.load`.
    """
    from alexnet_jax.workdir import trained

    net = trained.load(request.workdir, request.config, request.flags.checkpoint)
    changed = [f"{key}={value}" for key, value in net.changed().items() if key.startswith("config.")]
    if changed:
        print(f"{request.workdir} was not trained with {', '.join(changed)}", file=sys.stderr)
    return net


def views(request: Request) -> int:
    """Return how many views of an image `--views` or the config asks for.

    Raises:
      UsageError: neither 1 nor 10.
    """
    asked: int = request.flags.views
    if asked not in (0, 1, 10):
        raise UsageError(f"--views={asked}: it must be 1 or 10")
    return asked or int(request.config.evaluate.views)
