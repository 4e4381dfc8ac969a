"""What each change to the layers gave on a CPU: the training step with one of them undone.

  python -m tests.benchmark.changes [batch]

Each variant runs in a process of its own, three times in turn; the table gives the medians.
"""

import os
import statistics
import subprocess
import sys

RUNS, STEPS = 3, 3
VARIANTS = {
    "as it is": (),
    "freed memory goes back to the kernel": ("memory",),
    "the kernels' gradients over the whole batch at once": ("kernel",),
    "max pooling by reduce_window, its gradient by select-and-scatter": ("pool",),
    "LRN by reduce_window and a power, differentiated by JAX": ("lrn",),
    "grouped convolutions": ("grouped",),
    "all of these": ("memory", "kernel", "pool", "lrn", "grouped"),
}


def one(batch: int, undone: tuple[str, ...]) -> None:
    """Print the images/s of one variant."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    from alexnet_jax import runtime

    if "memory" not in undone:
        runtime.retain_malloc_heap()
    import time

    import jax
    import jax.numpy as jnp
    from jax import lax

    from alexnet_jax.benchmark import step as bench
    from alexnet_jax.model import layers, pooling
    from alexnet_jax.training import step
    from configs import imagenet

    def pool(x, size, stride, ceil, forward_mode):
        windows = (1, size, size, 1), (1, stride, stride, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, *windows, "VALID")

    def lrn(x, size, alpha, beta, k, towers, forward_mode):
        apart = jnp.square(x).reshape(*x.shape[:-1], towers, -1)
        sums = lax.reduce_window(apart, 0.0, lax.add, (1, 1, 1, 1, size), (1,) * 5, "SAME")
        return x / (k + alpha * sums.reshape(x.shape)) ** beta

    def grouped(x, kernel, bias, stride, pad, forward_mode):
        joined = jnp.concatenate(list(kernel), axis=-1)
        groups = x.shape[-1] // kernel.shape[3]
        return correlate(x, joined, stride, pad, groups) + bias.reshape(-1)

    def correlate(x, kernel, stride, pad, groups=1):
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )  # fmt: skip

    if "kernel" in undone:
        layers._convolve = correlate  # type: ignore[assignment]
    if "pool" in undone:
        pooling.POOLS["max"] = pool
    if "lrn" in undone:
        layers.lrn = lrn
    if "grouped" in undone:
        layers._correlate_in_groups = correlate  # type: ignore[attr-defined]
        layers.convolution = grouped
    config = imagenet.get_config()
    config.mesh.model = 1
    config.data.batch_size = batch
    made = bench.prepare(config)
    compiled = step.compiled_train_step(made.program, made.state)
    state = made.state

    def go(count):
        nonlocal state
        for number in range(count):
            state, _ = compiled(
                state, made.batches[number % len(made.batches)], made.mean, made.learning_rates
            )
        jax.block_until_ready(state)

    go(2)
    started = time.perf_counter()
    go(STEPS)
    print(STEPS * batch / (time.perf_counter() - started))


def main(batch: int) -> None:
    speeds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(RUNS):
        for name, undone in VARIANTS.items():
            command = [sys.executable, "-m", "tests.benchmark.changes", str(batch), ",".join(undone)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            speeds[name].append(float(done.stdout))
    whole = statistics.median(speeds["as it is"])
    print(f"| training step, batch {batch}, undone | images/s | of the whole |\n|---|---|---|")
    for name, measured in speeds.items():
        median = statistics.median(measured)
        print(
            f"| {name} | {median:.1f} ({min(measured):.1f} to {max(measured):.1f}) | {median / whole:.2f} |"
        )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) == 2:
        one(int(arguments[0]), tuple(filter(None, arguments[1].split(","))))
    else:
        main(int(arguments[0]) if arguments else 128)
