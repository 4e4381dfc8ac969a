"""One process of a group: trains and evaluates on some meshes and writes the results.

python -m tests.training.several_processes COORDINATOR PROCESSES PROCESS DATA OUTPUT MESH...

A mesh is written 2x1. For each of them and in both precisions OUTPUT, an .npz, gets the loss and the
velocities of each step, which are its updates, and what an evaluation counted.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from alexnet_jax import distributed
from alexnet_jax.data import pipeline, records
from alexnet_jax.evaluation import metrics, split, views
from alexnet_jax.model import architectures, inputs, network, sharding
from alexnet_jax.training import optimizer, step
from tests.helpers import small_digits

STEPS = {"float32": 5, "float64": 20}


def steps(dataset, data, model, dtype):
    """Losses and updates of a run on the digits with crops, flips and dropout, and its validation sums."""
    config = small_digits(str(dataset.folder.parents[1]))
    config.model.compute_dtype, config.data.batch_size, config.data.threads = dtype, 8, 1
    config.evaluate.batch_size = 44
    config.data.validation_split = "train[90%:]"
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    mesh = sharding.make_mesh(data, model, 2, 8)
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    normalization = inputs.Normalization(config.data.mean, config.data.input_std)
    program = step.Program(architecture, mesh, normalization, optimizer.momentum(rules, 0.9), config.seed)
    params = network.init_params(architecture, config.seed, mesh)
    state = step.init_state(program, jax.tree.map(lambda x: x.astype(dtype), params))
    statistics = dataset.statistics
    mean = inputs.mean_array(normalization, statistics.mean, statistics.rgb_mean, config.data.crop)
    mean = sharding.replicate(mean, mesh)
    learning_rates = {n: {leaf: np.asarray(0.01, dtype) for leaf in ("kernel", "bias")} for n in params}
    learning_rates = sharding.replicate(learning_rates, mesh)
    update = step.compiled_train_step(program, state)
    gather = jax.jit(lambda tree: tree, out_shardings=sharding.replicated(mesh))
    rows = sharding.rows_here(mesh, config.data.batch_size)
    count = STEPS[dtype]
    results = {"losses": []}
    batches = pipeline.training_batches(
        dataset, config.data, config.seed, first_batch=0, last_batch=count, rows=rows
    )
    for number, host in enumerate(batches):
        state, sums = update(state, sharding.to_device(host, mesh), mean, learning_rates)
        results["losses"].append(metrics.average([sums]).loss)
        for name, leaves in jax.device_get(gather(state.opt_state.trace)).items():
            for leaf, value in leaves.items():
                results[f"{number:02}/{name}/{leaf}"] = value
    predict = views.predictor(architecture, mesh, normalization, mean, config.data.size, 1)
    (averages,) = split.evaluate_split(
        dataset, config, mesh, "train[90%:]", [lambda image: predict(state.params, image)], shown=False
    )
    results["validation"] = [averages.loss, averages.top1_error, averages.count]
    results["classes"] = np.asarray(averages.by_class)
    return results


def main(coordinator, processes, process, folder, output, *meshes):
    spec = distributed.resolve_process(coordinator, int(processes), int(process), {}, False)
    if spec is not None:
        distributed.start(spec)
    config = small_digits(folder)
    dataset = records.open_dataset(config.data)
    everything = {}
    for mesh in meshes:
        data, model = map(int, mesh.split("x"))
        for dtype in STEPS:
            with jax.enable_x64(dtype == "float64"):
                for key, value in steps(dataset, data, model, dtype).items():
                    everything[f"{mesh}/{dtype}/{key}"] = np.asarray(value)
    if jax.process_index() == 0:
        np.savez(Path(output), **everything)
    distributed.shutdown(0, orderly=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
