"""The loop: step, log, evaluate, save, and take up again what a workdir holds."""

import collections
import contextlib
import dataclasses
import fcntl
import gc
import hashlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorboardX
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax import config as configuration
from alexnet_jax import files, runtime, signals
from alexnet_jax.data import pipeline
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.distributed import Group
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.model import architectures, inputs, sharding
from alexnet_jax.model.architectures import Architecture
from alexnet_jax.progress import Progress
from alexnet_jax.training import diagnosis, evaluation, initial, metrics, optimizer, step
from alexnet_jax.training.checkpoint import Checkpoints, remove

HELD_OUT = ("train[:90%]", "train[90%:]")  # where a source has no split to select by, or to test on
HEARD_SECONDS = 0.5  # after which a signal that came has been heard
IN_FLIGHT = 2  # steps that may wait on the device while the host goes on
STATISTICS = "statistics.npz"
SHARED_SECONDS = 30.0  # after which a file that another machine wrote must show itself
SHOWN_PROCESSES = 64  # in the banner
NOT_FINITE = "not_finite.txt"  # the records of the step that was not, and of the one before it


class Stop:
    """Turns SIGINT and SIGTERM into an orderly stop; a second one ends the process at once.

    Python runs its handlers between two instructions of the main thread, which may be compiling for minutes:
    a thread of its own hears signals through a pipe.

    Args:
      group: the run's processes, which all stop where one is told to.

    Attributes:
      signal: the signal that came, 0 before.
      agreed: the signal at which the run stops, in all its processes; 0 before.
    """

    def __init__(self, group: Group) -> None:
        self.signal = self.agreed = 0
        self._group = group
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        hear, self._tell = os.pipe()
        os.set_blocking(self._tell, False)
        threading.Thread(target=self._listen, args=(hear,), daemon=True).start()
        self._before_tell = signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        for number in signals.heeded():
            self._before[number] = signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_tell)
        os.close(self._tell)

    def now(self) -> int:
        """The signal at which the run stops here, in all processes; each asks before each program it runs."""
        if not self.agreed:
            self.agreed = self._group.stops_at(self.signal)
        return self.agreed

    def _listen(self, hear: int) -> None:
        while got := os.read(hear, 1):
            if got[0] in (signal.SIGINT, signal.SIGTERM):
                self._handle(got[0])
        os.close(hear)

    def _handle(self, number: int) -> None:
        if self.signal:
            os._exit(128 + number)
        self.signal = number
        message = f"\n{signal.Signals(number).name}: saving, then stopping; once more stops at once\n"
        os.write(sys.stderr.fileno(), message.encode())


class Log:
    """`metrics.jsonl` and TensorBoard events, both without the lines of steps after `step`."""

    def __init__(self, workdir: Path, step: int):
        self.path = workdir / "metrics.jsonl"
        if self.path.exists():
            files.write_text(self.path, "".join(f"{line}\n" for line in lines_until(self.path, step)))
        self.events = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """One line: `step`, `epoch` and the tags in `values`."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "epoch": round(epoch, 6), **values}) + "\n")
        for tag, value in values.items():
            self.events.add_scalar(tag, value, step)

    def close(self) -> None:
        """Flushes the events."""
        self.events.close()


def lines_until(path: Path, step: int) -> list[str]:
    """The lines of a `metrics.jsonl` as far as `step`, without the half line of a killed run and damage."""
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return kept


def check_run(config: ConfigDict) -> tuple[Architecture, Mesh]:
    """Checks all that can be checked without the data.

    Raises:
      UsageError: config, model, devices, or the net to start from do not fit together.
    """
    configuration.check(config)
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    if config.train.init_from:
        initial.open_initial(config, architecture)
    part = config.data.batch_size // config.train.accumulate_steps
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, architecture.towers, part)
    return architecture, mesh


def prepare_run(config: ConfigDict) -> tuple[pipeline.Dataset, Architecture, Mesh]:
    """Checks all that can be checked before anything is compiled.

    Names in `config.data` the splits that the dataset has, see `choose_splits`, and in
    `config.model.classes`, where it is 0, how many classes.

    Raises:
      UsageError: as `check_run` does, or the data does not fit.
    """
    architecture, mesh = check_run(config)
    dataset = pipeline.open_dataset(config.data)
    if config.model.classes == 0:
        config.model.classes = len(dataset.class_names)
        architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    check_classes(len(dataset.class_names), config, str(dataset.folder))
    chosen = choose_splits(config.data, dataset.splits)
    if chosen and not jax.process_index():
        print(f"{dataset.folder.parent.name} has {' and '.join(dataset.splits)}: {chosen}", file=sys.stderr)
    for key in ("train_split", "validation_split", "test_split"):
        split = config.data[key]
        if split and dataset.size(split) == 0:
            raise UsageError(f"config.data.{key}={split!r} holds no pictures in {dataset.folder}")
    first, last = step.rows_here(mesh, config.data.batch_size)
    pipeline.workers_of(config.data, last - first)  # refuses more than shared memory has room for
    return dataset, architecture, mesh


def choose_splits(data: ConfigDict, there: Sequence[str]) -> str:
    """Puts splits that are there in the place of those that a source does not have.

    Where validation is missing the last tenth of train is held out; the test split is then, in this order,
    `test`, `validation`, what validates, or the tenth. A train split that the config cuts itself stays.

    Args:
      data: the config's; its splits are set.
      there: names of the dataset's splits.

    Returns:
      What was chosen, for a person; empty where the config's splits are all there.
    """

    def missing(split: str) -> bool:
        return any(part.split("[")[0].strip() not in there for part in split.split("+")) and split != ""

    before = (data.train_split, data.validation_split, data.test_split)
    if missing(data.validation_split) and data.train_split == "train":
        data.train_split, data.validation_split = HELD_OUT
    if missing(data.test_split):
        named = [split for split in ("test", "validation") if split in there]
        if named or data.validation_split:
            data.test_split = (named or [data.validation_split])[0]
        elif data.train_split == "train":
            data.train_split, data.test_split = HELD_OUT
    if before == (data.train_split, data.validation_split, data.test_split):
        return ""
    validates = f"{data.validation_split!r} validates" if data.validation_split else "nothing validates"
    return f"{data.train_split!r} trains, {validates}, {data.test_split!r} tests"


def check_classes(found: int, config: ConfigDict, where: str) -> None:
    """Raises UsageError when the data has more classes than the net; fewer are allowed and said."""
    if found > config.model.classes:
        raise UsageError(
            f"{where} has {found} classes and the net {config.model.classes}: "
            f"set --config.model.classes={found}"
        )


def train(config: ConfigDict, workdir: Path, profile: int = 0) -> int:
    """Trains what `config` says in `workdir`, from where it stopped.

    Args:
      config: checked here.
      workdir: gets `config.json`, `metrics.jsonl`, `statistics.npz`, `tensorboard/`, `checkpoints/`.
      profile: steps of which a profiler trace is written to `workdir/profile`.

    Returns:
      0, or 128 + the number of the signal that stopped it.

    Raises:
      UsageError: the run cannot start. RunFailure: it cannot go on.
    """
    group = Group()
    with Stop(group) as stop:
        dataset, architecture, mesh = prepare_run(config)
        _check_same_everywhere(config, dataset, group)
        with _lock(workdir):
            try:
                return _Run(config, workdir, dataset, architecture, mesh, stop, group).run(profile)
            except OSError as error:
                raise RunFailure(f"the run in {workdir} cannot go on: {error.strerror or error}") from error


def _check_same_everywhere(config: ConfigDict, dataset: pipeline.Dataset, group: Group) -> None:
    """Raises UsageError where this process was given another config or other data than the first."""
    splits = {name: dataset.size(name) for name in dataset.splits}
    mean = hashlib.sha256(dataset.statistics.mean.tobytes()).hexdigest()
    found = {
        **{
            f"config.{key}": value
            for key, value in configuration.flatten(configuration.to_json(config)).items()
        },
        f"the data {config.data.name}": [list(dataset.class_names), splits, mean],
    }
    own = ("config.data.dir", "config.data.threads", "config.data.workers")  # a machine may have a copy
    for key, value in group.from_first(lambda: found).items():
        if key not in own and found.get(key) != value:
            short = "" if key.startswith("the") else f": {found.get(key)!r}, not {value!r}"
            raise UsageError(f"{key} is not the same here as in the first process{short}")


class _Run:
    """One process's part of a run."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        dataset: pipeline.Dataset,
        architecture: Architecture,
        mesh: Mesh,
        stop: Stop,
        group: Group,
    ):
        self.config, self.workdir, self.dataset = config, workdir, dataset
        self.architecture, self.mesh, self.stop, self.group = architecture, mesh, stop, group
        self.batch_size = config.data.batch_size
        self.size = dataset.size(config.data.train_split)
        if self.size < self.batch_size:
            raise UsageError(
                f"config.data.batch_size={self.batch_size} is more than the {self.size} pictures of "
                f"{config.data.train_split!r}; make it smaller, and config.schedule.learning_rate with it"
            )
        self.total_steps = math.ceil(config.train.epochs * self.size / self.batch_size)
        self.checkpoints = Checkpoints(workdir / "checkpoints", config.checkpoint.keep)
        self._keep_or_check_config()
        form = inputs.InputForm(config.data.mean, config.data.input_std)
        statistics = Statistics.load(workdir / STATISTICS)
        mean = inputs.mean_array(form, statistics.mean, statistics.rgb_mean, architecture.crop)
        self.mean = sharding.replicate(mean, mesh)
        self.rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
        rule = optimizer.update_rule(self.rules, config.optimizer)
        parts = config.train.accumulate_steps
        self.program = step.Program(architecture, mesh, form, rule, config.seed, parts=parts)
        self.predict = evaluation.predictor(architecture, mesh, form, self.mean, config.data.size, 1)
        self.finite = jax.jit(
            lambda leaves: jnp.all(jnp.stack([jnp.isfinite(x).all() for x in leaves])),
            out_shardings=sharding.replicated(mesh),
        )
        self.memory = optimizer.Memory()
        self.evaluated_step = 0
        self.rates: tuple[Any, Any] | None = None
        self.compiled: tuple[step.Program, Any] | None = None

    def epoch(self, step_number: int) -> float:
        """Epochs behind a run that has made `step_number` updates."""
        return step_number * self.batch_size / self.size

    def _keep_or_check_config(self) -> None:
        self.initial = None
        if self.config.train.init_from and not self.group.from_first(self.checkpoints.steps):
            self.initial = initial.open_initial(self.config, self.architecture)
        written = self.group.from_first(self._keep_or_check_in_workdir)
        deadline = time.monotonic() + SHARED_SECONDS
        while not self.group.first and _digest(self.workdir / "config.json") != written:
            if time.monotonic() > deadline:
                raise UsageError(
                    f"{self.workdir} is not the folder here that it is for the first process: "
                    "--workdir must lie where all machines of the run see it"
                )
            time.sleep(0.2)

    def _keep_or_check_in_workdir(self) -> str:
        path = self.workdir / "config.json"
        if path.exists():
            saved, beside = configuration.load(path)
            if "converted_from" in beside:
                raise UsageError(
                    f"{self.workdir} holds converted weights, not a run: use another --workdir, and "
                    f"--config.train.init_from={self.workdir} to start from them"
                )
            configuration.check_same_run(saved, self.config, str(self.workdir))
            if beside.get("class_names") != list(self.dataset.class_names):
                raise UsageError(
                    f"{self.dataset.folder} has other classes than the run in {self.workdir}: "
                    "use another --workdir"
                )
        elif self.checkpoints.steps():
            raise UsageError(f"{self.workdir} holds checkpoints and no config.json: use another --workdir")
        if not self.checkpoints.steps():
            (self.initial or self.dataset).statistics.save(self.workdir / STATISTICS)
        device = self.mesh.devices.flat[0]
        kind = runtime.host() if device.platform == "cpu" else f"{self.mesh.size} x {device.device_kind}"
        configuration.save(
            path,
            self.config,
            class_names=list(self.dataset.class_names),
            statistics=STATISTICS,
            hardware=kind,
            versions=runtime.versions("jax", "jaxlib", "flax"),
        )
        return _digest(path)

    def _start(self) -> tuple[int, step.TrainState]:
        params = sharding.init_params(self.architecture, self.config.seed, self.mesh)
        if self.initial is not None:
            params = self.initial.params(params, self.architecture, self.mesh)
        state = step.init_state(self.program, params)
        number, progress, damaged = self.group.from_first(self._latest)
        if not number:
            return 0, state
        target = jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
            state,
            step.state_shardings(self.program, state),
        )
        self.memory = optimizer.Memory(**progress["schedule"])
        self.evaluated_step = progress["evaluated_step"]
        restored = self.checkpoints.restore(number, target)

        def remove_damaged() -> None:
            for later in damaged:  # they would count as the last or the best; the run makes them again
                remove(self.checkpoints.folder / str(later))

        self.group.from_first(remove_damaged)
        return number, restored

    def _latest(self) -> tuple[int, dict[str, Any], list[int]]:
        """The last whole checkpoint (0: there is none), its progress, and damaged ones after it."""
        for name in self.checkpoints.clean():
            print(
                f"{self.workdir}: removed what an interrupted save left, checkpoints/{name}", file=sys.stderr
            )
        damaged = []
        for number in reversed(self.checkpoints.steps()):
            damage = self.checkpoints.damage(number)
            if damage:
                print(f"checkpoint {number} is damaged and not used: {damage}", file=sys.stderr)
                damaged.append(number)
                continue
            state_of = "goes on from" if number < self.total_steps else "is finished at"
            print(f"{self.workdir} {state_of} step {number} of {self.total_steps}", file=sys.stderr)
            return number, self.checkpoints.progress(number), damaged
        if damaged:
            raise RunFailure(f"no checkpoint in {self.checkpoints.folder} is whole: remove it to start anew")
        return 0, {}, []

    def _save(self, number: int, state: step.TrainState, error: float | None) -> None:
        if not self.finite(jax.tree.leaves(state.params)):
            self._fail_not_finite(number)
        self.checkpoints.save(number, state, self._progress(number, error))

    def _progress(self, number: int, error: float | None) -> dict[str, Any]:
        return {
            "epoch": self.epoch(number),
            "schedule": self.memory.to_json(),
            "evaluated_step": self.evaluated_step,
            "validation_top1_error": error,
        }

    def _fail_not_finite(self, number: int) -> None:
        self.checkpoints.wait()
        last = self.checkpoints.steps()
        kept = f"the last good checkpoint is step {last[-1]}" if last else "no checkpoint was written before"
        read = diagnosis.name_batches(self.dataset, self.config, self.workdir / NOT_FINITE, number)
        raise RunFailure(
            f"step {number}: the loss or the parameters are not finite ({kept}); its batch: records {read}; "
            f"try a lower config.schedule.learning_rate than {self.config.schedule.learning_rate}"
        )

    def _rates(self, number: int) -> Any:
        """The learning rates of the step after `number`, on the mesh; copied there when they change."""
        values = optimizer.learning_rates(self.rules, self.config, self.memory, self.epoch(number))
        if self.rates is None or self.rates[0] != values:
            self.rates = (values, sharding.replicate(values, self.mesh))
        return self.rates[1]

    def _update(self, number: int, state: step.TrainState) -> Any:
        """The compiled step after `number`; it is compiled again when a layer freezes."""
        frozen = optimizer.frozen_layers(self.rules, self.epoch(number))
        program = dataclasses.replace(self.program, frozen=frozen)
        if self.compiled is None or self.compiled[0] != program:
            self.compiled = (program, step.compiled_train_step(program, state))
        return self.compiled[1]

    def run(self, profile: int) -> int:
        number, state = self._start()
        self._banner(number)
        first = self.group.first
        log = Log(self.workdir, number) if first else None
        host_batches = pipeline.training_batches(
            self.dataset,
            self.config,
            first_batch=number,
            last_batch=self.total_steps,
            rows=step.rows_here(self.mesh, self.batch_size),
        )
        window = _Window()
        batches = _ahead(host_batches, self.mesh, window)
        saved, profiled, tracing = number, number + 3, False
        try:
            with Progress("train", self.total_steps, "steps", initial=number, shown=first) as progress:
                while True:
                    stopping = self.stop.now()
                    due = number > self.evaluated_step and self._due(
                        number, self.config.train.evaluate_every_epochs
                    )
                    error = None
                    if due and not stopping and self.config.data.validation_split:
                        self._log_window(log, progress, window, number)
                        error = self._evaluate(log, progress, state, number)
                        window.restart()
                        if error is not None and number == saved:  # the stop came before the evaluation
                            self.checkpoints.amend(number, self._progress(number, error))
                    signalled = self.stop.agreed
                    evaluated = not self.config.data.validation_split or self.evaluated_step >= number
                    ended = self.memory.ended or (number >= self.total_steps and evaluated)
                    if number > saved and (
                        ended
                        or signalled
                        or self._due(number, self.config.checkpoint.every_epochs)
                        or self._is_best(error)
                    ):
                        self._log_window(log, progress, window, number)
                        self._save(number, state, error)
                        saved = number
                        window.restart()
                    if ended or signalled:
                        break
                    if profile and number == profiled:
                        jax.block_until_ready(state)  # the steps before are not part of the trace
                        jax.profiler.start_trace(str(self.workdir / "profile"))
                        tracing = True
                    update, rates = self._update(number, state), self._rates(number)
                    try:
                        batch = next(batches)
                    except RuntimeError:
                        # A signal to all processes ends those that read while they are starting.
                        time.sleep(HEARD_SECONDS)
                        if not self.stop.now():
                            raise
                        continue
                    state, sums = update(state, batch, self.mean, rates)
                    del batch  # with the memory in which it came
                    number += 1
                    window.add(sums)
                    progress.update(1, window.note)
                    if profile and number == profiled + profile:
                        jax.block_until_ready(state)
                        jax.profiler.stop_trace()
                        tracing, profile = False, 0
                    if number % self.config.train.log_every_steps == 0:
                        self._log_window(log, progress, window, number)
                    if number == self.config.train.flat_loss_steps:
                        self._log_window(log, progress, window, number)
                        self._report_flat_loss(window, progress, state)
        finally:
            if tracing:
                jax.profiler.stop_trace()
            elif profile:
                print(
                    f"--profile: the run ended before step {profiled}, where the trace begins",
                    file=sys.stderr,
                )
            batches.close()
            host_batches.close()
            gc.collect()  # cycles in grain keep the last batches and the shared memory in which they lie
            self.checkpoints.close()
            if log is not None:
                log.close()
        if self.stop.agreed and not ended:
            if first:
                print(f"stopped at step {number}; the same command goes on from there", file=sys.stderr)
            return 128 + self.stop.agreed
        if self.memory.ended and first:
            print(f"ended at step {number}: the validation error has stopped improving", file=sys.stderr)
        return 0

    def _due(self, number: int, every_epochs: float) -> bool:
        """Whether step `number` is the first at or after a multiple of `every_epochs`, or the last."""
        if number == 0:
            return False
        passed = math.floor(self.epoch(number) / every_epochs + 1e-9)
        return number >= self.total_steps or passed > math.floor(self.epoch(number - 1) / every_epochs + 1e-9)

    def _is_best(self, error: float | None) -> bool:
        if error is None:
            return False

        def better() -> bool:
            self.checkpoints.wait()
            best = self.checkpoints.best()
            return best is None or error < self.checkpoints.progress(best)["validation_top1_error"]

        return self.group.from_first(better)

    def _evaluate(
        self, log: Log | None, progress: Progress, state: step.TrainState, number: int
    ) -> float | None:
        averages = evaluation.evaluate_split(
            self.dataset,
            self.config,
            self.mesh,
            self.config.data.validation_split,
            [lambda image: self.predict(state.params, image)],
            stopped=lambda: bool(self.stop.now()),
            shown=False,
        )
        if averages is None:
            return None
        found = averages[0]
        epoch = self.epoch(number)
        self.evaluated_step = number
        before = self.memory
        # The rule counts in whole intervals: the first step after an epoch overshoots it by a varying part.
        every = self.config.train.evaluate_every_epochs
        passed = math.floor(epoch / every + 1e-9) * every
        self.memory = optimizer.remember(self.config.schedule, self.memory, passed, found.top1_error)
        if log is not None:
            values = {
                "val/loss": found.loss,
                "val/top1_error": found.top1_error,
                "val/top5_error": found.top5_error,
            }
            log.write(number, epoch, values)
        progress.say(
            f"epoch {epoch:.2f}, step {number}: validation loss {found.loss:.4f}, "
            f"top-1 error {found.top1_error:.2%}, top-5 error {found.top5_error:.2%}"
        )
        if self.memory.divisions > before.divisions:
            rate = optimizer.learning_rate(self.config, self.memory, epoch)
            progress.say(f"the error has stopped improving: the learning rate is now {rate:g}")
        return found.top1_error

    def _log_window(self, log: Log | None, progress: Progress, window: "_Window", number: int) -> None:
        if not window.sums:
            return
        found = window.close(number, self._fail_not_finite)
        seconds = max(window.seconds, 1e-9)
        values = {
            "train/loss": found.loss,
            "train/top1_error": found.top1_error,
            "train/top5_error": found.top5_error,
            "learning_rate": optimizer.learning_rate(self.config, self.memory, self.epoch(number - 1)),
            "perf/images_per_second": found.count / seconds,
            "perf/input_wait_fraction": min(window.waited / seconds, 1.0),
        }
        window.note = f"loss {found.loss:.3f}, error {found.top1_error:.1%}"
        if log is not None:
            log.write(number, self.epoch(number), values)

    def _report_flat_loss(self, window: "_Window", progress: Progress, state: step.TrainState) -> None:
        classes, steps = self.config.model.classes, self.config.train.flat_loss_steps
        guessing = math.log(classes)
        if window.mean_loss > (1 - configuration.FLAT) * guessing:
            silent = diagnosis.silent_layers(
                self.architecture,
                self.mesh,
                self.program.form,
                state.params,
                self.mean,
                self.dataset,
                self.config,
            )
            if silent:
                progress.say(
                    f"the net is dead: every value of {', '.join(silent)} is 0, so that no gradient reaches "
                    f"what comes before. The run cannot recover: start another with a lower "
                    f"config.schedule.learning_rate than {self.config.schedule.learning_rate}."
                )
            # README, "A loss that stands still": the paper's initial values and biases stand twice as long.
            sooner = "the recipe of configs/imagenet_2012_source.py, which learns sooner, "
            progress.say(
                f"the loss stands still: {window.mean_loss:.3f} after {steps} steps is no better than "
                f"guessing, ln({classes}) = {guessing:.3f}. Try more patience (some thousand steps are not "
                f"rare), {sooner if self.architecture.name == 'alexnet_2012' else ''}a higher "
                "config.schedule.learning_rate, or look whether the labels are right."
            )

    def _banner(self, number: int) -> None:
        if not self.group.first:
            return
        device = self.mesh.devices.flat[0]
        towers = "a tower a device" if self.mesh.shape["model"] == 2 else "all towers on one device"
        rest = len(jax.devices()) - self.mesh.size
        table = architectures.shapes(self.architecture).values()
        unused = f"; {rest} devices stay unused" if rest else ""
        data, model = self.mesh.shape["data"], self.mesh.shape["model"]
        split = self.config.data.train_split
        lines = [
            f"{self.architecture.name}: {sum(shape.parameters for shape in table):,} parameters",
            f"mesh: {data} x {model} of {device.device_kind} ({towers}){unused}",
            f"data: {self.dataset.folder}, {self.size:,} pictures in {split!r}",
            f"run: {self.config.train.epochs:g} epochs = {self.total_steps:,} steps of {self.batch_size}",
            f"workdir: {self.workdir}",
        ]
        if self.group.processes > 1:
            lines += _places(self.mesh, self.architecture.towers, self.batch_size)
        if self.initial is not None:
            lines.append(
                f"from {self.config.train.init_from}: {', '.join(self.initial.layers)}; "
                f"drawn anew: {', '.join(self.initial.new)}"
            )
        if not self.config.data.validation_split:
            lines.append("no validation split: nothing is selected, the last checkpoint is the result")
        if self.config.schedule.steps and self.config.schedule.steps[-1][0] >= self.config.train.epochs:
            later = self.config.schedule.steps[-1]
            lines.append(f"the run ends before the learning rate becomes {later[1]:g} at epoch {later[0]:g}")
        fewer = len(self.dataset.class_names)
        if fewer < self.config.model.classes:
            lines.append(f"the data has {fewer} classes, the net {self.config.model.classes}")
        print("\n".join(lines), file=sys.stderr, flush=True)


def _places(mesh: Mesh, towers: int, batch_size: int) -> list[str]:
    """A line for each process of the mesh: its devices, and their towers and pictures of each batch."""
    data, model = mesh.shape["data"], mesh.shape["model"]
    held: dict[int, list[tuple[int, int, int]]] = {}
    for (replica, column), device in np.ndenumerate(mesh.devices):
        held.setdefault(device.process_index, []).append((device.id, replica, column))
    lines = [f"processes: {len(held)}"]
    for process, places in held.items():
        rows, columns = [p[1] for p in places], sorted({p[2] for p in places})
        share, each = batch_size // data, towers // model
        names = ", ".join(str(tower) for c in columns for tower in range(c * each, (c + 1) * each))
        lines.append(
            f"  process {process}: device {', '.join(str(p[0]) for p in places)}; tower {names}; "
            f"pictures {min(rows) * share} to {(max(rows) + 1) * share - 1} of each batch"
        )
    if len(lines) > SHOWN_PROCESSES + 1:
        lines[SHOWN_PROCESSES + 1 :] = [f"  and {len(held) - SHOWN_PROCESSES} more in the same way"]
    return lines


def _digest(path: Path) -> str:
    """The SHA-256 of a file; empty when it is not there."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


class _Window:
    """Steps since the last line of the log: their sums, still on the device, and where time went.

    Attributes:
      mean_loss: of the window closed last.
      note: its values for the progress bar.
      seconds, waited: how long it took, and how long the device had nothing to do for want of input.
    """

    def __init__(self) -> None:
        self.sums: list[metrics.Sums] = []
        self.started = time.monotonic()
        self.waiting = self.waited = self.seconds = 0.0
        self.note = ""
        self._latest: metrics.Sums | None = None
        self.mean_loss = math.nan

    def add(self, sums: metrics.Sums) -> None:
        self.sums.append(sums)
        self._latest = sums
        if len(self.sums) > IN_FLIGHT:
            jax.block_until_ready(self.sums[-1 - IN_FLIGHT])

    def wait_for_input(self, seconds: float) -> None:
        """Counts a wait of the host as one of the device when the device has nothing left to do."""
        if self._latest is None or self._latest.loss.is_ready():  # type: ignore[attr-defined]
            self.waiting += seconds

    def restart(self) -> None:
        """Leaves what was not training out of the rate."""
        self.started = time.monotonic()

    def close(self, number: int, fail: Any) -> metrics.Averages:
        values = jax.device_get(self.sums)
        for back, sums in enumerate(values):
            if not np.isfinite(sums.loss):
                fail(number - len(values) + back + 1)
        now = time.monotonic()
        self.seconds, self.started = now - self.started, now
        self.waited, self.waiting = self.waiting, 0.0
        self.sums = []
        found = metrics.average(values)
        self.mean_loss = found.loss
        return found


def _ahead(
    batches: Iterator[Any], mesh: Mesh, window: _Window
) -> Generator[dict[str, jax.Array], None, None]:
    """Batches on the device, the next one already on its way while one is used."""
    queue: collections.deque[dict[str, jax.Array]] = collections.deque()
    while True:
        started = time.monotonic()
        try:
            host = next(batches)
        except StopIteration:
            break
        window.wait_for_input(time.monotonic() - started)
        queue.append(step.to_device(host, mesh))
        if len(queue) == 2:
            yield queue.popleft()
    yield from queue


@contextlib.contextmanager
def _lock(workdir: Path) -> Iterator[None]:
    """Refuses a second run on one workdir; the lock goes with the process, however it ends."""
    if jax.process_index():
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / ".lock").open("w")
    except OSError as error:
        raise UsageError(f"the workdir {workdir} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another run is using {workdir}: wait for it, or use another --workdir"
            ) from None
        files.remove_partial(workdir)
        yield
