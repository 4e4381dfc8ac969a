"""`convert`: weights of PyTorch, Caffe or our own become a workdir, a workdir becomes a file of weights.

FILE --output=DIR makes a workdir of a file of PyTorch (any ending: .pth, .pt, .bin, .ckpt), safetensors,
Caffe (.caffemodel, .npy) or .npz; its content says what it is and which net it holds. Of a checkpoint the
net's tensors are taken, and what is left out is told. Nothing in a file is run: pickles are read as data.
The word torchvision in the place of FILE fetches the file that torchvision publishes, once, into the user's
cache. DIR --output=FILE writes .safetensors, with torchvision's names where it has some, or .npz with ours.

Examples:
  convert torchvision --output=runs/torchvision
  convert runs/imagenet --output=imagenet.safetensors
"""

from dataclasses import replace
from pathlib import Path

from alexnet_jax.commands.command import Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, OUTPUT, Flag
from alexnet_jax.config import find
from alexnet_jax.errors import UsageError


def run(request: Request) -> int:
    """Convert one way or the other."""
    flags = request.flags
    if len(request.arguments) != 1 or not flags.output:
        raise UsageError(
            "type convert FILE --output=DIR for a new workdir, or convert DIR --output=FILE for a file "
            ".safetensors or .npz of the workdir DIR"
        )
    from alexnet_jax.interop import named_weights

    named = named_weights.is_name(request.arguments[0])
    source, output = Path(request.arguments[0]), Path(flags.output)
    is_workdir = source.is_dir() and not named
    for name in ("class_names", "mean", "lpips") if is_workdir else ("checkpoint", "half"):
        if flags[name].present:
            what = "workdir" if is_workdir else "file"
            raise UsageError(f"convert does not read --{name} when a {what} is converted")
    from alexnet_jax.interop import convert

    if is_workdir:
        lines = convert.to_file(source, output, flags.checkpoint, flags.half)
    else:
        if named:
            convert.check_new(output)  # before the file is fetched
            source = named_weights.weights_file(request.arguments[0])
        recipes = {
            "torchvision": find.load_file("imagenet_torchvision"),
            "caffe": find.load_file("imagenet_caffe"),
        }
        others = {"class_names": flags.class_names, "mean": flags.mean, "lpips_heads": flags.lpips}
        paths = {name: Path(path) for name, path in others.items() if path}
        lines = convert.to_workdir(source, output, recipes, **paths)
    print("\n".join(lines))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        replace(OUTPUT, help="A new workdir; or a file .safetensors or .npz.", value="PATH"),
        replace(CHECKPOINT, help=f"Of a workdir: {CHECKPOINT.help}"),
        Flag("half", "Of a workdir: round to float16, half the bytes.", "switch"),
        Flag("class_names", "Of a file: a text file with one class name a line.", "path", "FILE"),
        Flag("mean", "Of a file: Caffe's mean file, .binaryproto or .npy.", "path", "FILE"),
        Flag("lpips", "Of a file: LPIPS' heads, for compare; the lpips package's alex.pth.", "path", "FILE"),
    ),
    arguments="FILE|DIR|torchvision",
)
