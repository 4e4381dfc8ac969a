"""The training loop: step, log, evaluate, save, stop."""

import contextlib
import dataclasses
import gc
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data.statistics import Statistics
from alexnet_jax.distributed import Group
from alexnet_jax.errors import RunFailure
from alexnet_jax.evaluation import metrics, views
from alexnet_jax.evaluation.split import BatchPredictor, evaluate_split
from alexnet_jax.model import inputs, sharding
from alexnet_jax.progress import Progress
from alexnet_jax.training import (
    diagnosis,
    linear_probe,
    optimizer,
    resident,
    resume,
    stored_values,
    warm_start,
)
from alexnet_jax.training.banner import banner
from alexnet_jax.training.feed import Plans, open_feed
from alexnet_jax.training.profiler import Profiler
from alexnet_jax.training.setup import RunSetup, check_same_everywhere, prepare_run
from alexnet_jax.training.step import Program, compiled_train_steps, split_state
from alexnet_jax.training.stop import Stop
from alexnet_jax.training.throughput import Window
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
                return open_run(setup, workdir, stop, group).run(profile)
            except OSError as error:
                raise RunFailure(
                    f"the run in {workdir} cannot continue: {error.strerror or error}"
                ) from error


def open_run(setup: RunSetup, workdir: Path, stop: Stop, group: Group, shown: bool = True) -> "Run":
    """Write or check the workdir's files, draw or restore the parameters, and print what is trained."""
    config, architecture, mesh = setup.config, setup.architecture, setup.mesh
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    room = group.broadcast_from_primary(lambda: resident.room(mesh))  # one answer for all
    plans = Plans.of(setup, rules, room)
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
    if shown and group.is_primary:
        print(banner(setup, workdir, group.processes, initial, plans), file=sys.stderr, flush=True)
    made_with = RunInputs(config, setup.dataset.class_names, statistics)
    return Run(
        setup, workdir, stop, group, checkpoints, made_with, rules, plans, program, mean_on_mesh, start, shown
    )


@dataclasses.dataclass(eq=False)
class Run:
    """One process's part of a run, and what changes in it from step to step."""

    setup: RunSetup
    workdir: Path
    stop: Stop
    group: Group
    checkpoints: Checkpoints
    inputs: RunInputs
    rules: Mapping[str, optimizer.LayerRule]
    plans: Plans
    program: Program
    mean: jax.Array
    start: dataclasses.InitVar[resume.Start]
    shown: bool  # whether its progress is

    def __post_init__(self, start: resume.Start) -> None:
        self.config, architecture, mesh = self.setup.config, self.setup.architecture, self.setup.mesh
        size, normalization = self.config.data.size, self.program.normalization
        self.predict = views.predictor(architecture, mesh, normalization, self.mean, size, 1)
        self.all_finite = jax.jit(
            lambda leaves: jnp.all(jnp.stack([jnp.isfinite(x).all() for x in leaves])),
            out_shardings=sharding.replicated(mesh),
        )
        self.step, self.state, self.plateau = start.step, start.state, start.plateau
        self.evaluated_step, self.saved_step = start.evaluated_step, start.step
        self.stop.count_as_progress(self.checkpoints.size)
        self.window = Window()
        self.compiled_steps: Any = None  # compiled for the layers that `program` freezes
        self.learning_rates: Any = None  # those of the last step, and the same on the mesh
        self.learning_rates_on_mesh: Any = None

    def run(self, profile: int) -> int:
        """Train to the end or to a signal; return the exit code."""
        primary = self.group.is_primary
        with self.opened(profile):
            self._save_where_due(self.evaluate_where_due())
            while not self._leaving():
                self.advance()
                self._save_where_due(self.evaluate_where_due())
        if self.stop.agreed and not self._ended():
            if primary:
                print(f"stopped at step {self.step}; the same command resumes there", file=sys.stderr)
            return 128 + self.stop.agreed
        if self.plateau.finished and primary:
            print(f"ended at step {self.step}: the validation error has stopped improving", file=sys.stderr)
        return 0

    @contextlib.contextmanager
    def opened(self, profile: int = 0) -> Iterator[None]:
        """Open what the steps need, the log and the batches, and close it at the end of the block."""
        total, primary = self.setup.total_steps, self.group.is_primary
        self.log = MetricsLog(self.workdir, self.step, self.evaluated_step) if primary else None
        self.profiler = Profiler(self.workdir / layout.PROFILE, profile, self.step)
        net = self.program, self.state.params, self.mean
        self.feed = open_feed(
            self.setup, self.rules, self.plans, net, self.step, self.window, self.profiler, self._stopped
        )
        self.program = dataclasses.replace(self.program, start=self.feed.start)
        self.window.restart()
        try:
            with Progress(
                "train", total, "steps", initial=self.step, shown=self.shown and primary
            ) as self.progress:
                yield
        finally:
            self.profiler.close()
            self.feed.close()
            gc.collect()  # reference cycles in grain hold the last batches and their shared memory
            self.checkpoints.close()
            if self.log is not None:
                self.log.close()

    def evaluate_where_due(self) -> float | None:
        """Validate where it is due after the last step; return the top-1 error, None where it was not."""
        error = None
        stopping = self.stop.now()
        due = self.step > self.evaluated_step and self._due(self.config.train.evaluate_every_epochs)
        if due and not stopping and self.config.data.validation_split:
            self._log_window()
            error = self._evaluate()
            self.window.restart()
            if error is not None and self.step == self.saved_step:  # the stop came before the evaluation
                self.checkpoints.update_metadata(self.step, self._metadata(error))
        return error

    def _save_where_due(self, error: float | None) -> None:
        """Save a checkpoint where it is due after the last step, which has the validation `error`."""
        if self.step > self.saved_step and (
            self._leaving() or self._due(self.config.checkpoint.every_epochs) or self._is_best(error)
        ):
            self._log_window()
            self._save(error)
            self.window.restart()

    def _due(self, every_epochs: float) -> bool:
        return self.feed.dispatches.due(self.step, every_epochs)

    def _stopped(self) -> bool:
        return bool(self.stop.now())

    def _leaving(self) -> bool:
        """Return whether the loop ends here: all is done, or the processes agreed to stop at a signal."""
        return bool(self.stop.agreed) or self._ended()

    def _ended(self) -> bool:
        """Return whether all is done: the last step is evaluated, or the plateau schedule has finished."""
        evaluated = not self.config.data.validation_split or self.evaluated_step >= self.step
        return self.plateau.finished or (self.step >= self.setup.total_steps and evaluated)

    def advance(self) -> None:
        """Make the updates of a dispatch, none where a signal ended the workers, and log where it is due."""
        if self.setup.fits_at_once:
            self._fit_last_layer()
            return
        self.profiler.before(self.step, self.state)
        count = self.feed.dispatches.count(self.step)
        update, learning_rates = self._compiled_steps(), self._learning_rates(count)
        try:
            batch = next(self.feed.batches)
        except RuntimeError:
            # A signal to all processes of a job ends workers that are still starting.
            time.sleep(SIGNAL_SECONDS)
            if not self.stop.now():
                raise
            return
        self.state, sums = update(self.state, batch, self.mean, learning_rates, np.int32(count))
        del batch  # releases the memory from which it was copied
        self.step += count
        self.window.add(sums, count)
        self.progress.update(count, self.window.note)
        self.profiler.after(self.step, self.state)
        if self.step % self.config.train.log_every_steps == 0:
            self._log_window()
        if self.step in diagnosis.flat_loss_steps(self.config.train, self.setup.total_steps):
            self._log_window()
            self._report_flat_loss()

    def _fit_last_layer(self) -> None:
        """Make the one step of a run that fits the last layer at once."""
        if self.feed.training is None or self.stop.now():
            return
        fitted = linear_probe.fit_last_layer(self.setup, self.feed.training, self._stopped, self.progress)
        if fitted is None:
            return
        logits, params = self.setup.architecture.logits, self.state.params
        layer = jax.device_put(fitted[0], jax.tree.map(lambda x: x.sharding, params[logits]))
        self.state = dataclasses.replace(
            self.state, step=self.state.step + 1, params={**params, logits: layer}
        )
        self.step += 1
        self.progress.update(1)
        averages = self.feed.training.evaluate(self._predictor(), self.setup.evaluation_rows, self._stopped)
        if averages is not None and self.log is not None:
            self.log.write(self.step, self.setup.epoch(self.step), averages[0].tags("train") | fitted[1])

    def _compiled_steps(self) -> Any:
        """Return the compiled training steps; compile them again when a layer becomes frozen."""
        frozen = optimizer.frozen_layers(self.rules, self.setup.epoch(self.step))
        if self.compiled_steps is None or frozen != self.program.frozen:
            self.program = dataclasses.replace(self.program, frozen=frozen)
            self.compiled_steps = compiled_train_steps(self.program, self.state, self.feed.dispatches.most)
        return self.compiled_steps

    def _learning_rates(self, count: int) -> Any:
        """Return the learning rates of the next steps on the mesh; copy them there when they change."""
        epochs = [self.setup.epoch(self.step)]
        if optimizer.changes_each_step(self.config.schedule, epochs[0]):
            epochs += [self.setup.epoch(self.step + further) for further in range(1, count)]
        values = [optimizer.learning_rates(self.rules, self.config, self.plateau, at) for at in epochs]
        if values != self.learning_rates:
            self.learning_rates, most = values, self.feed.dispatches.most
            if most > 1:
                values = values + values[-1:] * (most - len(values))
            rates = jax.tree.map(lambda *x: np.asarray(x if most > 1 else x[0]), *values)
            self.learning_rates_on_mesh = sharding.replicate(rates, self.setup.mesh)
        return self.learning_rates_on_mesh

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
            f"{metrics.in_words(averages.top1_error, averages.top5_error, self.config.model.classes)}"
        )
        if self.plateau.num_decays > previous.num_decays:
            rate = optimizer.learning_rate(self.config, self.plateau, epoch)
            self.progress.say(f"the error has stopped improving: the learning rate is now {rate:g}")
        return error

    def _validate(self) -> list[metrics.Averages] | None:
        """Return the averages over the validation split; None when stopped."""
        if self.feed.validation is not None:
            return self.feed.validation.evaluate(self._predictor(), self.setup.evaluation_rows, self._stopped)
        return evaluate_split(
            self.setup.dataset,
            self.config,
            self.setup.mesh,
            self.config.data.validation_split,
            [lambda image: self.predict(self.state.params, image)],
            stopped=self._stopped,
            shown=False,
        )

    def _predictor(self) -> BatchPredictor:
        """Return the net with its present parameters, of batches as they lie on the devices."""
        params = self.state.params
        if self.program.start:
            return stored_values.predictor(self.program, params)
        return lambda batch: self.predict(params, batch["image"])

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
