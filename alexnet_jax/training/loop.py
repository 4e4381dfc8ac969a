"""The training loop: step, log, evaluate, save, stop."""

import contextlib
import dataclasses
import gc
import math
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from alexnet_jax.data import pipeline
from alexnet_jax.data.batch import Batch
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.distributed import Group
from alexnet_jax.errors import RunFailure
from alexnet_jax.evaluation import metrics, views
from alexnet_jax.evaluation.split import evaluate_split
from alexnet_jax.model import inputs, sharding
from alexnet_jax.progress import Progress
from alexnet_jax.training import diagnosis, linear_probe, optimizer, resume, stored_values, warm_start
from alexnet_jax.training.banner import banner
from alexnet_jax.training.profiler import Profiler
from alexnet_jax.training.setup import RunSetup, check_same_everywhere, prepare_run
from alexnet_jax.training.step import Program, compiled_train_step, split_state
from alexnet_jax.training.stop import Stop
from alexnet_jax.training.throughput import Window, batches_ahead
from alexnet_jax.workdir import layout
from alexnet_jax.workdir.checkpoints import Checkpoints
from alexnet_jax.workdir.lock import lock
from alexnet_jax.workdir.log import MetricsLog
from alexnet_jax.workdir.provenance import RunInputs

SIGNAL_SECONDS = 0.5  # in which `Stop` has noticed a signal that reached all processes


def train(config: ConfigDict, workdir: Path, profile: int = 0) -> int:
    """Train the net of a config in a workdir, or resume the run that is there.

    Args:
      config: the experiment; it is checked and resolved here.
      workdir: gets `config.json`, `metrics.jsonl`, `statistics.npz`, `tensorboard/`, `checkpoints/`.
      profile: the number of steps of which JAX's profiler writes a trace to `workdir/profile`.

    Returns:
      0, or 128 + the number of the signal that stopped it.

    Raises:
      UsageError: the run cannot start. RunFailure: it cannot continue.
    """
    group = Group()
    with Stop(group) as stop:
        setup = prepare_run(warm_start.resolve_probe(config, workdir))
        check_same_everywhere(setup, group)
        with lock(workdir) if group.is_primary else contextlib.nullcontext():
            try:
                return _open_run(setup, workdir, stop, group).run(profile)
            except OSError as error:
                raise RunFailure(
                    f"the run in {workdir} cannot continue: {error.strerror or error}"
                ) from error


def _open_run(setup: RunSetup, workdir: Path, stop: Stop, group: Group) -> "_Run":
    """Write or check the workdir's files, draw or restore the parameters, and print what is trained."""
    config, architecture, mesh = setup.config, setup.architecture, setup.mesh
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    room = group.broadcast_from_primary(lambda: stored_values.room(mesh))  # one answer for all
    plan = stored_values.plan(setup, rules, room)
    checkpoints = Checkpoints(workdir, config.checkpoint.keep)
    initial = resume.keep_or_check_config(setup, workdir, checkpoints, group)
    normalization = inputs.Normalization(config.data.mean, config.data.input_std)
    statistics = Statistics.load(workdir / layout.STATISTICS)
    mean = inputs.mean_array(normalization, statistics.mean, statistics.rgb_mean, architecture.crop)
    program = Program(
        architecture,
        mesh,
        normalization,
        optimizer.update_rule(rules, config.optimizer),
        config.seed,
        frozen=optimizer.frozen_layers(rules, 0.0),
        accumulate_steps=config.train.accumulate_steps,
    )
    mean_on_mesh = sharding.replicate(mean, mesh)
    start = resume.start(setup, workdir, program, checkpoints, initial, group)
    if group.is_primary:
        print(banner(setup, workdir, group.processes, initial, plan), file=sys.stderr, flush=True)
    made_with = RunInputs(config, setup.dataset.class_names, statistics)
    return _Run(
        setup, workdir, stop, group, checkpoints, made_with, rules, plan, program, mean_on_mesh, start
    )


@dataclasses.dataclass(eq=False)
class _Run:
    """One process's part of a run, and what changes in it from step to step."""

    setup: RunSetup
    workdir: Path
    stop: Stop
    group: Group
    checkpoints: Checkpoints
    inputs: RunInputs
    rules: Mapping[str, optimizer.LayerRule]
    plan: stored_values.Plan | None
    program: Program
    mean: jax.Array
    start: dataclasses.InitVar[resume.Start]

    def __post_init__(self, start: resume.Start) -> None:
        self.config, architecture, mesh = self.setup.config, self.setup.architecture, self.setup.mesh
        size, normalization = self.config.data.size, self.program.normalization
        self.predict = views.predictor(architecture, mesh, normalization, self.mean, size, 1)
        self.all_finite = jax.jit(
            lambda leaves: jnp.all(jnp.stack([jnp.isfinite(x).all() for x in leaves])),
            out_shardings=sharding.replicated(mesh),
        )
        self.stored_training: stored_values.StoredValues | None = None
        self.stored_validation: stored_values.StoredValues | None = None
        self.step, self.state, self.plateau = start.step, start.state, start.plateau
        self.evaluated_step, self.saved_step = start.evaluated_step, start.step
        self.window = Window()
        self.compiled_step: Any = None  # compiled for the layers that `program` freezes
        self.learning_rates: Any = None  # those of the last step, and the same on the mesh
        self.learning_rates_on_mesh: Any = None

    def run(self, profile: int) -> int:
        """Train to the end or to a signal; return the exit code."""
        total, primary = self.setup.total_steps, self.group.is_primary
        self.log = MetricsLog(self.workdir, self.step) if primary else None
        self.input = contextlib.ExitStack()
        batches = self._batches()
        profiler = Profiler(self.workdir / layout.PROFILE, profile, self.step)
        self.window.restart()
        try:
            with Progress("train", total, "steps", initial=self.step, shown=primary) as self.progress:
                self._evaluate_and_save()
                while not self._leaving():
                    if self.setup.fits_at_once:
                        self._fit_last_layer()
                    else:
                        self._train_step(batches, profiler)
                    self._evaluate_and_save()
        finally:
            profiler.close()
            batches.close()
            self.input.close()
            gc.collect()  # reference cycles in grain hold the last batches and their shared memory
            self.checkpoints.close()
            if self.log is not None:
                self.log.close()
        if self.stop.agreed and not self._ended():
            if primary:
                print(f"stopped at step {self.step}; the same command resumes there", file=sys.stderr)
            return 128 + self.stop.agreed
        if self.plateau.finished and primary:
            print(f"ended at step {self.step}: the validation error has stopped improving", file=sys.stderr)
        return 0

    def _batches(self) -> Generator[Batch[jax.Array], None, None]:
        """Return the batches to come; compute the values of frozen layers first, where they are stored."""
        setup, config, total = self.setup, self.config, self.setup.total_steps
        if self.plan is not None and self.plan.fits and self.step < total:
            net = (setup, self.program, self.state.params, self.mean, self.plan)
            stored = stored_values.compute(*net, self._stopped, self.group.is_primary)
            if stored is not None:
                training, self.stored_validation = stored
                self.stored_training = training
                self.program = dataclasses.replace(self.program, start=self.plan.layer)
                return training.training_batches(setup, self.step, total)
        host_batches = pipeline.training_batches(
            setup.dataset,
            config.data,
            config.seed,
            first_batch=self.step,
            last_batch=total,
            rows=sharding.rows_here(setup.mesh, config.data.batch_size),
        )
        self.input.callback(host_batches.close)
        return batches_ahead(host_batches, setup.mesh, self.window)

    def _evaluate_and_save(self) -> None:
        """Validate and save a checkpoint, each where it is due after the last step."""
        error = None
        stopping = self.stop.now()
        due = self.step > self.evaluated_step and self._due(self.config.train.evaluate_every_epochs)
        if due and not stopping and self.config.data.validation_split:
            self._log_window()
            error = self._evaluate()
            self.window.restart()
            if error is not None and self.step == self.saved_step:  # the stop came before the evaluation
                self.checkpoints.update_metadata(self.step, self._metadata(error))
        if self.step > self.saved_step and (
            self._leaving() or self._due(self.config.checkpoint.every_epochs) or self._is_best(error)
        ):
            self._log_window()
            self._save(error)
            self.window.restart()

    def _stopped(self) -> bool:
        return bool(self.stop.now())

    def _leaving(self) -> bool:
        """Return whether the loop ends here: all is done, or the processes agreed to stop at a signal."""
        return bool(self.stop.agreed) or self._ended()

    def _ended(self) -> bool:
        """Return whether all is done: the last step is evaluated, or the plateau schedule has finished."""
        evaluated = not self.config.data.validation_split or self.evaluated_step >= self.step
        return self.plateau.finished or (self.step >= self.setup.total_steps and evaluated)

    def _train_step(self, batches: Iterator[Batch[jax.Array]], profiler: Profiler) -> None:
        """Make one update and log where it is due; make none where a signal ended the workers."""
        profiler.before(self.step, self.state)
        update, learning_rates = self._compiled_step(), self._learning_rates()
        try:
            batch = next(batches)
        except RuntimeError:
            # A signal to all processes of a job ends workers that are still starting.
            time.sleep(SIGNAL_SECONDS)
            if not self.stop.now():
                raise
            return
        self.state, sums = update(self.state, batch, self.mean, learning_rates)
        del batch  # releases the memory from which it was copied
        self.step += 1
        self.window.add(sums)
        self.progress.update(1, self.window.note)
        profiler.after(self.step, self.state)
        if self.step % self.config.train.log_every_steps == 0:
            self._log_window()
        if self.step in diagnosis.flat_loss_steps(self.config.train, self.setup.total_steps):
            self._log_window()
            self._report_flat_loss()

    def _fit_last_layer(self) -> None:
        """Make the one step of a run that fits the last layer at once."""
        if self.stored_training is None or self.stop.now():
            return
        fitted = linear_probe.fit_last_layer(self.setup, self.stored_training, self._stopped, self.progress)
        if fitted is None:
            return
        logits, params = self.setup.architecture.logits, self.state.params
        layer = jax.device_put(fitted[0], jax.tree.map(lambda x: x.sharding, params[logits]))
        self.state = dataclasses.replace(
            self.state, step=self.state.step + 1, params={**params, logits: layer}
        )
        self.step += 1
        self.progress.update(1)
        averages = self.stored_training.evaluate(
            self.program, self.state.params, self.setup.evaluation_rows, self._stopped
        )
        if averages is not None and self.log is not None:
            self.log.write(self.step, self.setup.epoch(self.step), averages[0].tags("train") | fitted[1])

    def _compiled_step(self) -> Any:
        """Return the compiled training step; compile it again when a layer becomes frozen."""
        frozen = optimizer.frozen_layers(self.rules, self.setup.epoch(self.step))
        if self.compiled_step is None or frozen != self.program.frozen:
            self.program = dataclasses.replace(self.program, frozen=frozen)
            self.compiled_step = compiled_train_step(self.program, self.state)
        return self.compiled_step

    def _learning_rates(self) -> Any:
        """Return the learning rates of the next step on the mesh; copy them there when they change."""
        epoch = self.setup.epoch(self.step)
        values = optimizer.learning_rates(self.rules, self.config, self.plateau, epoch)
        if values != self.learning_rates:
            self.learning_rates = values
            self.learning_rates_on_mesh = sharding.replicate(values, self.setup.mesh)
        return self.learning_rates_on_mesh

    def _due(self, every_epochs: float) -> bool:
        """Return whether this step is the first at or after a multiple of `every_epochs`, or the last."""
        if self.step == 0:
            return False
        intervals_before, intervals = (
            math.floor(self.setup.epoch(step) / every_epochs + 1e-9) for step in (self.step - 1, self.step)
        )
        return self.step >= self.setup.total_steps or intervals > intervals_before

    def _is_best(self, error: float | None) -> bool:
        if error is None:
            return False

        def better() -> bool:
            self.checkpoints.wait()
            best = self.checkpoints.best()
            return best is None or error < self.checkpoints.metadata(best)["validation_top1_error"]

        is_best: bool = self.group.broadcast_from_primary(better)
        return is_best

    def _evaluate(self) -> float | None:
        """Return the validation top-1 error; log it and update the plateau schedule; None when stopped."""
        results = self._validate()
        if results is None:
            return None
        averages, epoch = results[0], self.setup.epoch(self.step)
        self.evaluated_step = self.step
        # The patience counts whole intervals: the first step after one overshoots it by a varying fraction.
        every = self.config.train.evaluate_every_epochs
        due_epoch = math.floor(epoch / every + 1e-9) * every
        previous, error = self.plateau, averages.top1_error
        self.plateau = optimizer.update_plateau(
            self.config.schedule, previous, due_epoch, error, self.setup.epoch(1)
        )
        if self.log is not None:
            self.log.write(self.step, epoch, averages.tags("val"))
        self.progress.say(
            f"epoch {epoch:.2f}, step {self.step}: validation loss {averages.loss:.4f}, "
            f"top-1 error {averages.top1_error:.2%}, top-5 error {averages.top5_error:.2%}"
        )
        if self.plateau.num_decays > previous.num_decays:
            rate = optimizer.learning_rate(self.config, self.plateau, epoch)
            self.progress.say(f"the error has stopped improving: the learning rate is now {rate:g}")
        return error

    def _validate(self) -> list[metrics.Averages] | None:
        """Return the averages over the validation split; None when stopped."""
        if self.stored_validation is not None:
            return self.stored_validation.evaluate(
                self.program, self.state.params, self.setup.evaluation_rows, self._stopped
            )
        return evaluate_split(
            self.setup.dataset,
            self.config,
            self.setup.mesh,
            self.config.data.validation_split,
            [lambda image: self.predict(self.state.params, image)],
            stopped=self._stopped,
            shown=False,
        )

    def _log_window(self) -> None:
        """Log the averages of the steps since the last line of the log, where there are any."""
        if not self.window.sums:
            return
        averages = self.window.close(self.step, self._fail_not_finite)
        classes = self.config.model.classes
        self.plateau = optimizer.follow_loss(self.plateau, self.window.losses, self.step, classes)
        epoch = self.setup.epoch(self.step - 1)
        values = {
            **averages.tags("train"),
            "learning_rate": optimizer.learning_rate(self.config, self.plateau, epoch),
            **self.window.rates(averages.count),
        }
        if self.log is not None:
            self.log.write(self.step, self.setup.epoch(self.step), values)

    def _report_flat_loss(self) -> None:
        net = views.PlacedNet(
            self.setup.architecture,
            self.setup.mesh,
            self.program.normalization,
            self.config.data.size,
            self.mean,
            self.state.params,
        )
        loss = self.plateau.flat_loss or self.window.mean_loss
        setup = self.setup
        for line in diagnosis.flat_loss(net, setup.dataset, self.config, loss, self.step, setup.total_steps):
            self.progress.say(line)

    def _save(self, error: float | None) -> None:
        if not self.all_finite(jax.tree.leaves(self.state.params)):
            self._fail_not_finite(self.step)
        provenance = self.inputs.provenance(self.step, self.setup.dataset.statistics)
        trained, frozen = split_state(self.state, optimizer.frozen_layers(self.rules, 0.0))
        self.checkpoints.save(self.step, trained, self._metadata(error), provenance, frozen)
        self.saved_step = self.step

    def _metadata(self, error: float | None) -> dict[str, Any]:
        return {
            "epoch": self.setup.epoch(self.step),
            "schedule": self.plateau.to_json(),
            "evaluated_step": self.evaluated_step,
            "validation_top1_error": error,
        }

    def _fail_not_finite(self, step: int) -> NoReturn:
        self.checkpoints.wait()
        raise RunFailure(
            diagnosis.not_finite(
                self.setup.dataset,
                self.config,
                self.workdir / layout.NOT_FINITE,
                step,
                self.checkpoints.steps(),
            )
        )
