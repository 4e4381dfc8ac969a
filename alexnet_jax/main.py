"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) in JAX: the command line.

python -m alexnet_jax.main [verb] [--config=configs/X.py] [--workdir=DIR] [--config.key=value ...] [arguments]

Verbs:
  train      trains, evaluates, saves; goes on with what --workdir holds. The verb when none is given; with
             --source it prepares the data first where that is still to do.
  prepare    makes the dataset that the config names from --source.
  evaluate   the errors of the run in --workdir over its test split, or over --split; with several --workdir
             also those of their averaged probabilities.
  predict    the five best guesses for pictures, folders or patterns.
  features   the values of the layers that --layers names for pictures, folders or patterns, into --output.
  similar    what below the folder --source is nearest to a picture, or shows --label.
  compare    the LPIPS distance of two pictures of one size.
  convert    FILE --output=DIR: weights of PyTorch, of Caffe or of our own become a workdir;
             DIR --output=FILE: a workdir becomes .safetensors or .npz.
  export     the net in --workdir as StableHLO in --output.
  report     one page with the paper's figures for the run in --workdir (several: their curves overlaid);
             --explore: a page in which a person follows a picture through the net;
             --results: the row of each --workdir into docs/results/, and docs/RESULTS.md from all rows.
  doctor     versions and devices; with --config or --workdir what would stop that run, and the state of the
             run in --workdir; --architectures: the nets.
  benchmark  `benchmark input`: how fast the input is, against its peers on the same pictures;
             `benchmark step`: the forward pass and the training step; --peer=torch: beside PyTorch's;
             `benchmark start`: how long a start takes with and without kept compiled programs;
             `benchmark exchange`: what the devices send each other in a step, against the least possible;
             `benchmark features`: how fast features are, against the forward pass alone;
             `benchmark similar`: whether near means alike, and how long finding takes.

--config.key=value changes any key of the config, whether it comes from --config or from the run in --workdir.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from alexnet_jax import signals

if __name__ == "__main__":
    signals.catch()  # the imports below take a while

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from alexnet_jax import config as configuration
from alexnet_jax import distributed, runtime
from alexnet_jax.errors import RunFailure, UsageError

VERBS = (
    "train",
    "prepare",
    "evaluate",
    "predict",
    "features",
    "similar",
    "compare",
    "convert",
    "export",
    "doctor",
    "report",
    "benchmark",
)

# The verbs that read a flag: another must not pass it over in silence. --workdir and --debug are for all.
READ_BY = {
    "source": ("train", "prepare", "similar", "benchmark"),
    "strict": ("train", "prepare"),
    "part": ("train", "prepare"),
    "merge": ("train", "prepare"),
    "checkpoint": tuple(verb for verb in VERBS if verb not in ("train", "prepare", "doctor")),
    "views": ("evaluate", "predict"),
    "split": ("evaluate",),
    "label": ("similar",),
    "distance": ("similar",),
    "count": ("similar",),
    "layers": ("features", "benchmark"),
    "output": ("predict", "features", "similar", "convert", "export", "benchmark"),
    "class_names": ("convert",),
    "mean": ("convert",),
    "json": ("evaluate", "predict", "features", "similar", "compare"),
    "architectures": ("doctor",),
    "explore": ("report",),
    "results": ("report",),
    "peer": ("benchmark",),
    "profile": ("train",),
    "coordinator": ("train",),
    "processes": ("train",),
    "process": ("train",),
}

FLAGS = flags.FLAGS
flags.DEFINE_multi_string(
    "workdir",
    [],
    "Folder of the run; default runs/<name of the config file>. Repeated: an ensemble; curves.",
)
flags.DEFINE_string(
    "source", "", "What prepare, train and benchmark read: a path, or the word digits; what similar searches."
)
flags.DEFINE_bool("strict", False, "prepare: stop at the first file that cannot be decoded.")
flags.DEFINE_string("part", "", "prepare: make part i of n, written i/n, of the shards alone.")
flags.DEFINE_bool("merge", False, "prepare: check that all parts are there and register them.")
flags.DEFINE_string("checkpoint", "best", "best, last or a step.")
flags.DEFINE_integer("views", 0, "1 or 10 views a picture; 0: what the config says.", 0, 10)
flags.DEFINE_string("split", "", "evaluate: a TFDS split; default: the config's test split.")
flags.DEFINE_string("label", "", "similar: the name of a class.")
flags.DEFINE_string("distance", "", "similar: euclidean or cosine; default: what suits the layer.")
flags.DEFINE_integer("count", 20, "similar: how many pictures.")
flags.DEFINE_list("layers", [], "features: names of layers, such as conv1,relu5,fc6.")
flags.DEFINE_string(
    "output",
    "",
    "predict, similar: a figure, .png or .svg; features: an .npz, or a folder; convert: a new workdir, or a "
    "file; export: a file; benchmark: its JSON; benchmark step: also a figure, the JSON beside it.",
)
flags.DEFINE_string("class_names", "", "convert: a text file with one class name a line.")
flags.DEFINE_string("mean", "", "convert: a mean file of Caffe, .binaryproto or .npy.")
flags.DEFINE_bool("json", False, "evaluate, predict, features, similar, compare: answer in JSON.")
flags.DEFINE_bool("architectures", False, "doctor: print every net with its figures.")
flags.DEFINE_bool("explore", False, "report: write the page in which a picture is followed through the net.")
flags.DEFINE_bool("results", False, "report: record finished runs and write docs/RESULTS.md.")
flags.DEFINE_string("peer", "", "benchmark step: torch measures PyTorch in the same run.")
flags.DEFINE_integer("profile", 0, "train: write a profiler trace of this many steps.", 0)
flags.DEFINE_string("coordinator", "", "train in several processes: HOST:PORT of the first.")
flags.DEFINE_integer("processes", 0, "train in several processes: how many.", 0)
flags.DEFINE_integer("process", -1, "train in several processes: which one this is, from 0.", -1)
flags.DEFINE_bool("debug", False, "Show tracebacks.")


def main(argv: list[str]) -> int:
    """Runs one verb; returns the exit code: 0, 1 a failure, 2 a wrong use, 130 and 143 after a signal."""
    try:
        code = _dispatch(argv[1:])
        distributed.leave(code, orderly=True)
        return code
    except (UsageError, RunFailure) as error:
        caught: BaseException = error
        code, text = error.exit_code, str(error)
    except KeyboardInterrupt as error:
        caught = error
        code, text = 130, "interrupted"
    except Exception as error:
        caught = error
        first = (str(error) or "no message").splitlines()[0]
        code = 1
        text = f"{type(error).__name__}: {first} (--debug shows the traceback){distributed.explain()}"
    if FLAGS.debug:
        traceback.print_exception(caught)
    print(f"alexnet_jax: {distributed.prefix()}{text}", file=sys.stderr)
    distributed.leave(code, orderly=False)
    return code


def _dispatch(arguments: list[str]) -> int:
    verb = arguments.pop(0) if arguments else "train"
    if verb not in VERBS:
        raise UsageError(f"{verb!r} is not a verb; there are {', '.join(VERBS)}")
    if arguments and verb in ("train", "prepare", "evaluate", "export", "doctor", "report"):
        raise UsageError(f"{verb} takes no argument {arguments[0]!r}; flags are written --name=value")
    for name, verbs in READ_BY.items():
        if FLAGS[name].present and verb not in verbs:
            raise UsageError(f"{verb} does not read --{name}, which is for {', '.join(verbs)}")
    if FLAGS.views not in (0, 1, 10):
        raise UsageError(f"--views={FLAGS.views}: it must be 1 or 10")
    if verb == "doctor":
        return _doctor()
    if verb == "convert":
        return _convert(arguments)
    if verb == "report" and FLAGS.results:
        from alexnet_jax.report import results

        print("\n".join([*results.record(list(map(Path, FLAGS.workdir))), results.write_page()]))
        return 0
    if "config" not in FLAGS:
        untrained = verb in ("train", "prepare", "benchmark")
        needs = "--config=configs/X.py" if untrained else "--workdir=DIR of a trained net"
        raise UsageError(f"{verb} needs {needs}")
    config = FLAGS.config
    if not isinstance(config, ConfigDict):
        raise UsageError(f"{verb} needs --config=configs/X.py")
    workdirs = list(map(Path, FLAGS.workdir)) or [Path(f"runs/{Path(_config_file(FLAGS['config'])).stem}")]
    workdir = workdirs[0]
    if len(workdirs) > 1 and verb not in ("evaluate", "report"):
        raise UsageError(f"{verb} takes one --workdir, not {len(workdirs)}")
    configuration.check(config)

    if verb != "prepare":
        _set_up(keep_compiled=arguments not in (["step"], ["start"]))  # these measure compilation
    several = False
    if verb == "train":
        flags_given = (FLAGS.coordinator, FLAGS.processes, FLAGS.process)
        place = distributed.find_place(*flags_given, os.environ, distributed.machine_has_tpu())
        several = place is not None
        if place is not None:
            distributed.start(place)
    # Imported when a verb needs them: they load JAX and TFDS, and a wrong flag is told at once.
    if verb == "prepare" or (verb == "train" and FLAGS.source):
        from alexnet_jax.data import prepare

        if verb == "train" and prepare.is_prepared(config.data):
            print(f"{prepare.dataset_folder(config.data)} is prepared: --source is not read", file=sys.stderr)
        else:
            if several:
                raise UsageError("several processes do not prepare: type prepare with this --source first")
            if verb == "train":
                from alexnet_jax.training import loop

                loop.check_run(config)  # preparing may take hours
            prepare.prepare(config, FLAGS.source, strict=FLAGS.strict, part=FLAGS.part, merge=FLAGS.merge)
        if verb == "prepare":
            return 0
    if "float64" in dict(config.model).values() and not os.environ.get("JAX_ENABLE_X64"):
        raise UsageError("config.model.compute_dtype='float64' needs JAX_ENABLE_X64=1 in the environment")
    if config.train.deterministic:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
    if verb == "train":
        from alexnet_jax.training import loop

        code = loop.train(config, workdir, FLAGS.profile)
        if code == 0 and distributed.is_first():
            print(f"next: {os.path.relpath(sys.executable)} -m alexnet_jax.main evaluate --workdir={workdir}")
        return code
    if verb == "benchmark":
        output = Path(FLAGS.output or "benchmark.json")
        if arguments == ["input"]:
            from alexnet_jax.benchmark import input as benchmark_input

            benchmark_input.run(config, FLAGS.source, output)
        elif arguments == ["features"]:
            from alexnet_jax.benchmark import features as benchmark_features
            from alexnet_jax.inference import run

            trained = run.load(workdir, config, FLAGS.checkpoint)
            benchmark_features.run(trained, FLAGS.source, FLAGS.layers, output)
        elif arguments == ["similar"]:
            from alexnet_jax.benchmark import similar as benchmark_similar
            from alexnet_jax.inference import run

            benchmark_similar.run(run.load(workdir, config, FLAGS.checkpoint), FLAGS.source, output)
        elif arguments == ["step"]:
            from alexnet_jax.benchmark import step as benchmark_step

            benchmark_step.run(config, FLAGS.peer, output)
        elif arguments == ["start"]:
            from alexnet_jax.benchmark import start as benchmark_start

            benchmark_start.run(config, output)
        elif arguments == ["exchange"]:
            from alexnet_jax.benchmark import exchange as benchmark_exchange

            benchmark_exchange.run(config, output)
        else:
            raise UsageError(
                "benchmark measures input, step, start, exchange, features or similar: type benchmark step"
            )
        return 0
    if verb == "report" and FLAGS.explore:
        from alexnet_jax.inference import explorable, run
        from alexnet_jax.report import explorer

        if len(workdirs) > 1:
            raise UsageError(f"report --explore takes one --workdir, not {len(workdirs)}")
        net = explorable.explorable(run.load(workdir, config, FLAGS.checkpoint))
        print(explorer.write(workdir / "report" / "explorer.html", net.net, net.arrays, net.pictures))
        return 0
    if verb == "report":
        from alexnet_jax.report import page

        read = page.check(workdirs)
        from alexnet_jax.inference import findings

        print("\n".join(page.write(read, findings.find(workdir, config, FLAGS.checkpoint))))
        return 0
    from alexnet_jax.inference import evaluate, predict, reading, run

    views = FLAGS.views or config.evaluate.views
    if verb == "evaluate":
        answer = evaluate.evaluate(run.load_members(workdirs, config, FLAGS.checkpoint), FLAGS.split, views)
        print(json.dumps(answer) if FLAGS.json else evaluate.as_text(answer))
        return 0
    if verb == "similar":
        from alexnet_jax.inference import similar

        picture = similar.check(arguments, FLAGS.source, FLAGS.label, FLAGS.count, FLAGS.distance)
        if FLAGS.output:
            predict.check_figure(Path(FLAGS.output))
        trained = run.load(workdir, config, FLAGS.checkpoint)
        answer = similar.similar(
            trained, Path(FLAGS.source), picture, FLAGS.label, FLAGS.count, FLAGS.distance
        )
        print(json.dumps(answer, indent=1, ensure_ascii=False) if FLAGS.json else similar.as_text(answer))
        if FLAGS.output:
            similar.draw(answer, Path(FLAGS.output))
        return 1 if answer["left_out"] else 0
    if verb == "compare":
        from alexnet_jax.inference import lpips

        first, second = lpips.two_files(arguments)
        lpips.load_heads(workdir)
        answer = lpips.compare(run.load(workdir, config, FLAGS.checkpoint), first, second)
        print(json.dumps(answer, ensure_ascii=False) if FLAGS.json else lpips.as_text(answer))
        return 0
    if verb == "export":
        from alexnet_jax.interop import export

        export.check_output(Path(FLAGS.output))
        print(export.export(run.load(workdir, config, FLAGS.checkpoint), Path(FLAGS.output)))
        return 0
    files = reading.find(arguments, verb)
    if verb == "features":
        from alexnet_jax.inference import features

        features.check_output(FLAGS.output)
        trained = run.load(workdir, config, FLAGS.checkpoint)
        answer = features.features(trained, files, FLAGS.layers, FLAGS.output)
        print(json.dumps(answer, indent=1, ensure_ascii=False) if FLAGS.json else features.as_text(answer))
        return 1 if answer["left_out"] else 0
    if FLAGS.output:
        predict.check_figure(Path(FLAGS.output))
    answers = predict.predict(run.load(workdir, config, FLAGS.checkpoint), files, views)
    print(json.dumps(answers, indent=1, ensure_ascii=False) if FLAGS.json else predict.as_text(answers))
    if FLAGS.output:
        predict.draw(answers, Path(FLAGS.output))
    return 1 if any("error" in answer for answer in answers) else 0


def _convert(arguments: list[str]) -> int:
    if len(arguments) != 1 or not FLAGS.output or FLAGS.workdir or "config" in FLAGS:
        raise UsageError(
            "type convert FILE --output=DIR for a new workdir, or convert DIR --output=FILE for a file "
            ".safetensors or .npz of the workdir DIR"
        )
    from alexnet_jax.interop import convert
    from configs import imagenet_caffe, imagenet_torchvision

    source, output = Path(arguments[0]), Path(FLAGS.output)
    if source.is_dir():
        lines = convert.to_file(source, output, FLAGS.checkpoint)
    else:
        recipes = {"torchvision": imagenet_torchvision.get_config(), "caffe": imagenet_caffe.get_config()}
        names, mean = (Path(flag) if flag else None for flag in (FLAGS.class_names, FLAGS.mean))
        lines = convert.to_workdir(source, output, recipes, names, mean)
    print("\n".join(lines))
    return 0


def _doctor() -> int:
    from alexnet_jax import doctor

    if FLAGS.architectures:
        print(doctor.architectures_table())
        return 0
    text, healthy = doctor.report(
        FLAGS.config if "config" in FLAGS else None, Path(FLAGS.workdir[0]) if FLAGS.workdir else None
    )
    print(text)
    return 0 if healthy else 1


def _set_up(keep_compiled: bool) -> None:
    """What must stand before JAX is imported and threads start."""
    runtime.keep_memory()
    try:
        folder = runtime.compilation_cache() if keep_compiled else None
    except UsageError as error:
        print(f"alexnet_jax: {error}", file=sys.stderr)
        return
    if folder:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def _given(argv: list[str], name: str) -> str | None:
    """The value of a flag before flags are parsed: which flags there are depends on it."""
    for place, argument in enumerate(argv):
        if argument.startswith("-") and argument.lstrip("-") == name:
            return argv[place + 1] if place + 1 < len(argv) else ""
        if argument.startswith("-") and argument.lstrip("-").startswith(f"{name}="):
            return argument.split("=", 1)[1]
    return None


def _without(arguments: list[str], name: str) -> list[str]:
    """`arguments` without the flag `name` and its value."""
    kept, skip = [], False
    for argument in arguments:
        bare = argument.lstrip("-")
        if skip:
            skip = False
        elif argument.startswith("-") and bare == name:
            skip = True
        elif not (argument.startswith("-") and bare.startswith(f"{name}=")):
            kept.append(argument)
    return kept


def _config_file(flag: flags.Flag) -> str:
    return getattr(flag, "config_filename", "")


def _parse(argv: list[str]) -> list[str]:
    """Parses the command line; whatever is wrong with it is one line and exit code 2.

    The config comes from `--config`, else from the run in `--workdir`; both take `--config.key=value`.
    """
    try:
        workdir, path = _given(argv, "workdir"), _given(argv, "config")
        if path is not None:
            if not path.endswith(".py") or not Path(path).is_file():
                raise UsageError(f"--config={path} is not a config file: configs/ has some")
            # First on the line: its keys are known only after it, wherever the person wrote it.
            argv = [argv[0], f"--config={path}", *_without(argv[1:], "config")]
            config_flags.DEFINE_config_file("config", help_string="A config file.", sys_argv=argv)
        elif workdir:
            config, _ = configuration.load(Path(workdir) / "config.json")
            config_flags.DEFINE_config_dict("config", config, sys_argv=argv)
        rest = FLAGS(argv, known_only=False)
        if "config" in FLAGS:
            _ = FLAGS.config.seed  # a file that could not be read shows itself only when it is used
        return rest
    except (UsageError, flags.Error) as error:
        message = str(error)
    except (KeyError, AttributeError) as error:
        key = str(error.args[0] if error.args else "").split(".")[-1].strip("'\"")
        named = [a.split("=")[0].lstrip("-") for a in argv if key in a.split("=")[0].split(".")]
        message = f"{named[0]} is not a key of this config" if named else f"--config={path}: {error}"
    except Exception as error:  # a config file is a program: it can fail in any way
        message = f"--config={path}: {error}"
    print("alexnet_jax: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)


def entry() -> None:
    """What `python -m alexnet_jax.main` runs."""
    logging.set_verbosity(logging.ERROR)  # Orbax and TFDS report their every step
    try:
        app.run(main, flags_parser=_parse)
    except KeyboardInterrupt:  # before or after `main`, which has words for it
        sys.exit(130)
    finally:
        signals.end()


if __name__ == "__main__":
    entry()
