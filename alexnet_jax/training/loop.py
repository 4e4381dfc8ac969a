"""The training loop: step, log, evaluate, save, stop."""

import contextlib
import dataclasses
import gc
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from alexnet_jax.data import pipeline
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.distributed import Group
from alexnet_jax.errors import RunFailure
from alexnet_jax.evaluation import views
from alexnet_jax.evaluation.split import evaluate_split
from alexnet_jax.model import inputs, sharding
from alexnet_jax.progress import Progress
from alexnet_jax.training import diagnosis, optimizer, resume, step
from alexnet_jax.training.banner import banner
from alexnet_jax.training.profiler import Profiler
from alexnet_jax.training.setup import RunSetup, check_same_everywhere, prepare_run
from alexnet_jax.training.stop import Stop
from alexnet_jax.training.throughput import Window, batches_ahead
from alexnet_jax.workdir import layout
from alexnet_jax.workdir.checkpoints import Checkpoints
from alexnet_jax.workdir.lock import lock
from alexnet_jax.workdir.log import MetricsLog

SIGNAL_SECONDS = 0.5  # after which a signal that came has been heard


def train(config: ConfigDict, workdir: Path, profile: int = 0) -> int:
    """Train what a config says in a workdir, from where it stopped.

    Args:
      config: checked and resolved here.
      workdir: gets `config.json`, `metrics.jsonl`, `statistics.npz`, `tensorboard/`, `checkpoints/`.
      profile: steps of which a profiler trace is written to `workdir/profile`.

    Returns:
      0, or 128 + the number of the signal that stopped it.

    Raises:
      UsageError: the run cannot start. RunFailure: it cannot continue.
    """
    group = Group()
    with Stop(group) as stop:
        setup = prepare_run(config)
        check_same_everywhere(setup, group)
        with lock(workdir) if group.is_primary else contextlib.nullcontext():
            try:
                return _Run(setup, workdir, stop, group).run(profile)
            except OSError as error:
                raise RunFailure(f"the run in {workdir} cannot go on: {error.strerror or error}") from error


class _Run:
    """One process's part of a run, and what changes in it from step to step."""

    def __init__(self, setup: RunSetup, workdir: Path, stop: Stop, group: Group):
        self.setup, self.workdir, self.stop, self.group = setup, workdir, stop, group
        self.config = config = setup.config
        architecture, mesh = setup.architecture, setup.mesh
        self.checkpoints = Checkpoints(workdir, config.checkpoint.keep)
        self.initial = resume.keep_or_check_config(setup, workdir, self.checkpoints, group)
        normalization = inputs.Normalization(config.data.mean, config.data.input_std)
        statistics = Statistics.load(workdir / layout.STATISTICS)
        mean = inputs.mean_array(normalization, statistics.mean, statistics.rgb_mean, architecture.crop)
        self.mean = sharding.replicate(mean, mesh)
        self.rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
        self.program = step.Program(
            architecture,
            mesh,
            normalization,
            optimizer.update_rule(self.rules, config.optimizer),
            config.seed,
            parts=config.train.accumulate_steps,
        )
        self.predict = views.predictor(architecture, mesh, normalization, self.mean, config.data.size, 1)
        self.all_finite = jax.jit(
            lambda leaves: jnp.all(jnp.stack([jnp.isfinite(x).all() for x in leaves])),
            out_shardings=sharding.replicated(mesh),
        )
        start = resume.start(setup, workdir, self.program, self.checkpoints, self.initial, group)
        self.number, self.state = start.step, start.state
        self.plateau, self.evaluated_step = start.plateau, start.evaluated_step
        self.saved_step = self.number
        self.window = Window()
        self.rates: tuple[Any, Any] | None = None
        self.compiled: tuple[step.Program, Any] | None = None

    def run(self, profile: int) -> int:
        """Train to the end or to a signal; return the exit code."""
        config, mesh, primary = self.config, self.setup.mesh, self.group.is_primary
        if primary:
            lines = banner(self.setup, self.workdir, self.group.processes, self.initial)
            print(lines, file=sys.stderr, flush=True)
        self.log = MetricsLog(self.workdir, self.number) if primary else None
        host_batches = pipeline.training_batches(
            self.setup.dataset,
            config.data,
            config.seed,
            first_batch=self.number,
            last_batch=self.setup.total_steps,
            rows=sharding.rows_here(mesh, config.data.batch_size),
        )
        batches = batches_ahead(host_batches, mesh, self.window)
        profiler = Profiler(self.workdir / layout.PROFILE, profile, self.number)
        total = self.setup.total_steps
        try:
            with Progress("train", total, "steps", initial=self.number, shown=primary) as self.progress:
                while not self._evaluate_and_save():
                    self._step(batches, profiler)
        finally:
            profiler.close()
            batches.close()
            host_batches.close()
            gc.collect()  # cycles in grain keep the last batches and the shared memory in which they lie
            self.checkpoints.close()
            if self.log is not None:
                self.log.close()
        if self.stop.agreed and not self._ended():
            if primary:
                print(f"stopped at step {self.number}; the same command resumes there", file=sys.stderr)
            return 128 + self.stop.agreed
        if self.plateau.finished and primary:
            print(f"ended at step {self.number}: the validation error has stopped improving", file=sys.stderr)
        return 0

    def _evaluate_and_save(self) -> bool:
        """Do what is due after step `number`; return whether the run ends or stops here."""
        error = None
        stopping = self.stop.now()
        due = self.number > self.evaluated_step and self._due(self.config.train.evaluate_every_epochs)
        if due and not stopping and self.config.data.validation_split:
            self._log_window()
            error = self._evaluate()
            self.window.restart()
            if error is not None and self.number == self.saved_step:  # the stop came before the evaluation
                self.checkpoints.update_metadata(self.number, self._metadata(error))
        leaving = bool(self.stop.agreed) or self._ended()
        if self.number > self.saved_step and (
            leaving or self._due(self.config.checkpoint.every_epochs) or self._is_best(error)
        ):
            self._log_window()
            self._save(error)
            self.window.restart()
        return leaving

    def _ended(self) -> bool:
        """Return whether nothing is left to do: the last step is evaluated, or the plateau rule ended."""
        evaluated = not self.config.data.validation_split or self.evaluated_step >= self.number
        return self.plateau.finished or (self.number >= self.setup.total_steps and evaluated)

    def _step(self, batches: Iterator[dict[str, jax.Array]], profiler: Profiler) -> None:
        """Make one update, and log where it is due; none where a signal ends the reading processes."""
        profiler.before(self.number, self.state)
        update, rates = self._update(), self._rates()
        try:
            batch = next(batches)
        except RuntimeError:
            # A signal to all processes ends those that read while they are starting.
            time.sleep(SIGNAL_SECONDS)
            if not self.stop.now():
                raise
            return
        self.state, sums = update(self.state, batch, self.mean, rates)
        del batch  # with the memory in which it came
        self.number += 1
        self.window.add(sums)
        self.progress.update(1, self.window.note)
        profiler.after(self.number, self.state)
        if self.number % self.config.train.log_every_steps == 0:
            self._log_window()
        if self.number == self.config.train.flat_loss_steps:
            self._log_window()
            self._report_flat_loss()

    def _update(self) -> Any:
        """Return the compiled step; it is compiled again when a layer freezes."""
        frozen = optimizer.frozen_layers(self.rules, self.setup.epoch(self.number))
        program = dataclasses.replace(self.program, frozen=frozen)
        if self.compiled is None or self.compiled[0] != program:
            self.compiled = (program, step.compiled_train_step(program, self.state))
        return self.compiled[1]

    def _rates(self) -> Any:
        """Return the learning rates of the next step on the mesh; copied there when they change."""
        epoch = self.setup.epoch(self.number)
        values = optimizer.learning_rates(self.rules, self.config, self.plateau, epoch)
        if self.rates is None or self.rates[0] != values:
            self.rates = (values, sharding.replicate(values, self.setup.mesh))
        return self.rates[1]

    def _due(self, every_epochs: float) -> bool:
        """Return whether this step is the first at or after a multiple of `every_epochs`, or the last."""
        if self.number == 0:
            return False
        passed, before = (
            math.floor(self.setup.epoch(number) / every_epochs + 1e-9)
            for number in (self.number, self.number - 1)
        )
        return self.number >= self.setup.total_steps or passed > before

    def _is_best(self, error: float | None) -> bool:
        if error is None:
            return False

        def better() -> bool:
            self.checkpoints.wait()
            best = self.checkpoints.best()
            return best is None or error < self.checkpoints.metadata(best)["validation_top1_error"]

        found: bool = self.group.broadcast_from_primary(better)
        return found

    def _evaluate(self) -> float | None:
        """Return the validation top-1 error, logged and handed to the plateau rule; None when stopped."""
        averages = evaluate_split(
            self.setup.dataset,
            self.config,
            self.setup.mesh,
            self.config.data.validation_split,
            [lambda image: self.predict(self.state.params, image)],
            stopped=lambda: bool(self.stop.now()),
            shown=False,
        )
        if averages is None:
            return None
        found, epoch = averages[0], self.setup.epoch(self.number)
        self.evaluated_step = self.number
        # The rule counts in whole intervals: the first step after an epoch overshoots it by a varying part.
        every = self.config.train.evaluate_every_epochs
        passed = math.floor(epoch / every + 1e-9) * every
        before = self.plateau
        self.plateau = optimizer.update_plateau(self.config.schedule, before, passed, found.top1_error)
        if self.log is not None:
            values = {
                "val/loss": found.loss,
                "val/top1_error": found.top1_error,
                "val/top5_error": found.top5_error,
            }
            self.log.write(self.number, epoch, values)
        self.progress.say(
            f"epoch {epoch:.2f}, step {self.number}: validation loss {found.loss:.4f}, "
            f"top-1 error {found.top1_error:.2%}, top-5 error {found.top5_error:.2%}"
        )
        if self.plateau.num_decays > before.num_decays:
            rate = optimizer.learning_rate(self.config, self.plateau, epoch)
            self.progress.say(f"the error has stopped improving: the learning rate is now {rate:g}")
        return found.top1_error

    def _log_window(self) -> None:
        """Write a line about the steps since the last one, where there are any."""
        if not self.window.sums:
            return
        found = self.window.close(self.number, self._fail_not_finite)
        epoch = self.setup.epoch(self.number - 1)
        values = {
            "train/loss": found.loss,
            "train/top1_error": found.top1_error,
            "train/top5_error": found.top5_error,
            "learning_rate": optimizer.learning_rate(self.config, self.plateau, epoch),
            **self.window.rates(found.count),
        }
        if self.log is not None:
            self.log.write(self.number, self.setup.epoch(self.number), values)

    def _report_flat_loss(self) -> None:
        net = views.PlacedNet(
            self.setup.architecture,
            self.setup.mesh,
            self.program.normalization,
            self.config.data.size,
            self.mean,
            self.state.params,
        )
        lines = diagnosis.flat_loss(net, self.setup.dataset, self.config, self.window.mean_loss)
        for line in lines:
            self.progress.say(line)

    def _save(self, error: float | None) -> None:
        if not self.all_finite(jax.tree.leaves(self.state.params)):
            self._fail_not_finite(self.number)
        self.checkpoints.save(self.number, self.state, self._metadata(error))
        self.saved_step = self.number

    def _metadata(self, error: float | None) -> dict[str, Any]:
        return {
            "epoch": self.setup.epoch(self.number),
            "schedule": self.plateau.to_json(),
            "evaluated_step": self.evaluated_step,
            "validation_top1_error": error,
        }

    def _fail_not_finite(self, number: int) -> NoReturn:
        self.checkpoints.wait()
        last = self.checkpoints.steps()
        kept = f"the last good checkpoint is step {last[-1]}" if last else "no checkpoint was written before"
        records = diagnosis.name_batches(
            self.setup.dataset, self.config, self.workdir / layout.NOT_FINITE, number
        )
        raise RunFailure(
            f"step {number}: the loss or the parameters are not finite ({kept}); its batch: records {records}"
            f"; try a lower config.schedule.learning_rate than {self.config.schedule.learning_rate}"
        )
