"""Hostile files for every reader, in a process of its own with little memory, little time and a guard.

  python -m tests.faults.hostile KIND FOLDER COUNT NAME ...

reads COUNT files with each reader NAME and prints a line of JSON for each: 'mutated' files, whose bytes were
changed, or 'structured' ones, which follow the grammar of their format (`tests.faults.structures`). Of the
KIND 'attacks' each NAME is one file, which is converted where it holds weights. The process may take 2 GiB of
addresses and hold 1 GiB of memory beyond what it has after the whole file was read; a read that computes for
longer than `SECONDS` counts as a hang. An audit hook tells when a file makes it start a program, look up a
name for a pickle, load code, open a socket, or write outside of FOLDER.
"""

import contextlib
import functools
import gzip
import io
import json
import os
import resource
import shutil
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from tests.data import made_up

ADDRESSES = 2 * 2**30
MEBIBYTES = 1024
# The attacks are at the bounds of what a file may hold, which takes a slow machine ten: none is near endless.
SECONDS = {"mutated": 20, "structured": 5, "attacks": 20}
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """What writes the whole file (or folder) `name` below a folder, which file of it is mutated, and what
    reads it."""

    write: Callable[[Path], None]
    victim: str
    read: Callable[[Path], object]


# Whole files


def _bytes(data: Callable[[], bytes], name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(data())

    return write


def _class_folders() -> dict[str, bytes]:
    return made_up.class_folders(3, 1, ("ant", "bee"))


def _idx(axes: int) -> bytes:
    values = np.arange(20 * 36 if axes == 3 else 20, dtype=np.uint32).astype(np.uint8) % 10
    lengths = (20, 6, 6) if axes == 3 else (20,)
    return struct.pack(f">HBB{axes}I", 0, 8, axes, *lengths) + values.tobytes()


def _mnist(packed: bool) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for split in ("train", "t10k"):
            for what, axes in (("images", 3), ("labels", 1)):
                name = f"{split}-{what}-idx{axes}-ubyte" + (".gz" if packed else "")
                (folder / name).write_bytes(gzip.compress(_idx(axes)) if packed else _idx(axes))

    return write


def _weights(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import pytest

        from tests.interop import makers

        net = makers.caffe() if name.endswith(("caffemodel", "npy")) else makers.torchvision()
        with pytest.MonkeyPatch.context() as patch:
            makers.write(folder / name, net, patch)

    return write


def _mean(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        from tests.interop import makers

        values = np.linspace(0, 255, 3 * 8 * 8, dtype=np.float32).reshape(3, 8, 8)
        if name.endswith(".npy"):
            np.save(folder / name, values)
        else:
            blob = makers.BlobProto()
            makers.fill(blob, values[np.newaxis], "old")
            (folder / name).write_bytes(blob.SerializeToString())

    return write


def _image(kind: str, mode: str = "RGB") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        if kind == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        (folder / "image").write_bytes(made_up.image_file(7, kind, (24, 18), mode))

    return write


def _table(folder: Path) -> None:
    files = {f"{number}.png": made_up.image_file(number, "PNG") for number in range(4)}
    rows = "".join(f"{number}.png,{'cat' if number % 2 else 'dog'},train\n" for number in range(4))
    made_up.write_folder(folder, files | {"labels.csv": f"file,label,split\n{rows}".encode()})


def _toy(form: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        from tests.data import toy

        toy.write_dataset(toy.config_for(folder, form, 3))

    return write


def _workdir(folder: Path) -> None:
    """A net of 60,000 parameters that was converted."""
    from alexnet_jax.interop import convert

    _weights("a.npz")(folder)
    convert.to_workdir(folder / "a.npz", folder / "run", _recipes())


def _kit(folder: Path) -> None:
    from scipy.io import savemat

    from tests.data.made_up import imagenet, write_imagenet_tars

    train, val = imagenet(2, 3, 1)
    write_imagenet_tars(folder / "tars", train, val)
    rows = np.array([(1, "n01440764"), (2, "n01443537")], dtype=[("ILSVRC2010_ID", "i4"), ("WNID", "O")])
    savemat(folder / "meta.mat", {"synsets": rows}, do_compression=True)
    (folder / "ILSVRC2010_validation_ground_truth.txt").write_text("1\n2\n" * 4)


# Readers


@functools.cache
def _recipes() -> dict[str, Any]:
    from configs import imagenet_caffe, imagenet_torchvision

    return {"torchvision": imagenet_torchvision.get_config(), "caffe": imagenet_caffe.get_config()}


def _read_source(path: Path) -> int:
    from alexnet_jax.data.sources import detect, entries

    source, count = detect.open_source(str(path)), 0
    if source.entries is None:
        return sum(len(data) for _, data in source.images())
    for entry in source.entries:
        with contextlib.suppress(entries.Unreadable):
            count += len(source.read(entry))
    return count


def _read_weights(path: Path) -> object:
    from alexnet_jax.interop import formats, identify

    return identify.identify_weights(formats.read(path), _recipes())


def _read_mean(path: Path) -> object:
    from alexnet_jax.interop import formats

    return formats.read_mean(path)


def _read_image(path: Path) -> object:
    from alexnet_jax.data import images

    return images.resize_center_crop(path.read_bytes(), images.Preprocessing(16, 3, True))


def _read_records(form: str) -> Read:
    def read(folder: Path) -> int:
        from alexnet_jax.data.records import decode, open_dataset
        from tests.data import toy

        config = toy.config_for(folder, form, 3)
        dataset = open_dataset(config.data)
        buffer = np.empty((toy.SIZE, toy.SIZE, 3), np.uint8)
        total = 0
        for split in dataset.splits:
            records = dataset.records(split)
            for index in range(min(len(records), 100)):
                image, label, name = records.read(index)
                decode(image, form, buffer, name)
                total += label
        return total

    return read


def _read_workdir(path: Path) -> object:
    from alexnet_jax.workdir import trained

    folder = path if path.is_dir() else path.parent
    _trace_once()
    config = trained.read_config(folder / "run" if (folder / "run").is_dir() else folder)
    return trained.load(folder / "run" if (folder / "run").is_dir() else folder, config, "best")


@functools.cache
def _trace_once() -> None:
    """Lets a net be traced for the shapes of its parameters once, which takes longer than to read a file."""
    from alexnet_jax.model import network

    network.abstract_params = functools.lru_cache(100)(network.abstract_params)


def _read_checkpoint(path: Path) -> object:
    """As `_read_workdir`, of a stranger who wrote checksums that agree with his files."""
    from alexnet_jax.workdir import manifest

    folder = path / "run" / "checkpoints" / "0"
    told = manifest.read(folder)
    manifest.write(folder, manifest.checksums(folder), told["progress"], told.get("provenance"))
    return _read_workdir(path)


def _read_statistics(path: Path) -> object:
    from alexnet_jax.data.statistics import Statistics

    return Statistics.load(path)


def _write_statistics(folder: Path) -> None:
    from alexnet_jax.data.statistics import Accumulator

    sums = Accumulator(8, 3)
    for number in range(3):
        sums.add(np.full((8, 8, 3), number, np.uint8))
    sums.finish().save(folder / "statistics.npz")


def _read_names(path: Path) -> object:
    from alexnet_jax.interop import convert
    from alexnet_jax.progress import printable

    names = convert._read_names(path)
    shown = "\n".join(map(printable, names))
    assert shown.replace("\n", "").isprintable(), "a name reaches the terminal raw"
    return names


def _read_log(path: Path) -> list[str]:
    from alexnet_jax.workdir import log

    return log.lines_until(path, 10**9, 10**9)


def _write_log(folder: Path) -> None:
    lines = [json.dumps({"step": step, "epoch": step / 7, "train/loss": 2.3}) for step in range(9)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def _write_heads(folder: Path) -> None:
    from alexnet_jax.inference import lpips

    lpips.save_heads(
        folder, {f"lin{n}": np.ones(size, np.float32) for n, size in enumerate((8, 24, 48, 32, 32))}
    )


def _read_heads(path: Path) -> object:
    from alexnet_jax.inference import lpips

    return lpips.load_heads(path)


def _read_kit(path: Path) -> object:
    from alexnet_jax.data.sources import imagenet

    return imagenet.read_labels(path, "2010", "val")


def _packed(mode: str) -> Callable[[], bytes]:
    return lambda: made_up.tar_bytes(_class_folders(), mode)


def _tars_of_tars() -> bytes:
    files = {"ant.tar": made_up.tar_bytes({"a.jpg": made_up.image_file(1), "n/b.jpg": made_up.image_file(2)})}
    return made_up.tar_bytes(files | {"bee.tar": made_up.tar_bytes({"a.jpg": made_up.image_file(3)})})


def _write_folder(folder: Path) -> None:
    made_up.write_folder(folder / "classes", _class_folders())


_RECORDS = "toy_16/1.0.0/toy_16-train.array_record-00001-of-00002"
READERS: dict[str, Reader] = {
    **{
        f"image {kind.lower()}{'' if mode == 'RGB' else f' {mode}'}": Reader(
            _image(kind, mode), "image", _read_image
        )
        for kind, mode in (
            ("JPEG", "RGB"),
            ("JPEG", "CMYK"),
            ("PNG", "RGB"),
            ("PNG", "I;16"),
            ("PNG", "P"),
            ("GIF", "P"),
            ("BMP", "RGB"),
            ("PPM", "RGB"),
            ("TIFF", "RGB"),
            ("WEBP", "RGB"),
            ("AVIF", "RGB"),
            ("HEIF", "RGB"),
        )
    },
    "archive .tar": Reader(_bytes(_packed("w"), "a.tar"), "a.tar", _read_source),
    "archive .tar of tars": Reader(_bytes(_tars_of_tars, "a.tar"), "a.tar", _read_source),
    "archive .tar.gz": Reader(_bytes(_packed("w:gz"), "a.tar.gz"), "a.tar.gz", _read_source),
    "archive .tar.xz": Reader(_bytes(_packed("w:xz"), "a.tar.xz"), "a.tar.xz", _read_source),
    "archive .tar.bz2": Reader(_bytes(_packed("w:bz2"), "a.tar.bz2"), "a.tar.bz2", _read_source),
    "archive .zip": Reader(
        _bytes(lambda: made_up.zip_bytes(_class_folders()), "a.zip"), "a.zip", _read_source
    ),
    "IDX": Reader(_mnist(False), "train-images-idx3-ubyte", _read_source),
    "IDX labels": Reader(_mnist(False), "train-labels-idx1-ubyte", _read_source),
    "IDX .gz": Reader(_mnist(True), "train-images-idx3-ubyte.gz", _read_source),
    "table of labels": Reader(_table, "labels.csv", _read_source),
    "development kit meta.mat": Reader(_kit, "meta.mat", _read_kit),
    **{
        f"weights {name}": Reader(_weights(name), name, _read_weights)
        for name in (
            "a.pth",
            "a.old.pth",
            "a.safetensors",
            "a.caffemodel",
            "a.old.caffemodel",
            "a.npy",
            "a.npz",
        )
    },
    "mean .binaryproto": Reader(_mean("m.binaryproto"), "m.binaryproto", _read_mean),
    "mean .npy": Reader(_mean("m.npy"), "m.npy", _read_mean),
    "records jpeg": Reader(_toy("jpeg"), _RECORDS, _read_records("jpeg")),
    "records raw": Reader(_toy("raw"), _RECORDS, _read_records("raw")),
    "records dataset_info.json": Reader(
        _toy("jpeg"), "toy_16/1.0.0/dataset_info.json", _read_records("jpeg")
    ),
    "records features.json": Reader(_toy("jpeg"), "toy_16/1.0.0/features.json", _read_records("jpeg")),
    "records label.labels.txt": Reader(_toy("jpeg"), "toy_16/1.0.0/label.labels.txt", _read_records("jpeg")),
    "records preparation.json": Reader(_toy("jpeg"), "toy_16/1.0.0/preparation.json", _read_records("jpeg")),
    "statistics.npz": Reader(_write_statistics, "statistics.npz", _read_statistics),
    "config.json": Reader(_workdir, "run/config.json", _read_workdir),
    "checkpoint manifest.json": Reader(_workdir, "run/checkpoints/0/manifest.json", _read_workdir),
    "checkpoint, any file": Reader(_workdir, "run/checkpoints/0/state/**", _read_workdir),
    "checkpoint, checksums made to agree": Reader(_workdir, "run/checkpoints/0/state/**", _read_checkpoint),
    "class names": Reader(
        _bytes(lambda: "".join(f"class {n} ä\n" for n in range(40)).encode(), "names.txt"),
        "names.txt",
        _read_names,
    ),
    "metrics.jsonl": Reader(_write_log, "metrics.jsonl", _read_log),
    "lpips.npz": Reader(_write_heads, "lpips.npz", _read_heads),
}
FOLDERS = ("IDX", "records", "checkpoint", "config.json", "lpips", "development")  # read by their folder


# Mutations


def mutated(data: bytes, draw: np.random.Generator) -> bytes:
    """`data` with a few bits, bytes, numbers, pieces, digits or its end changed."""
    mutant = bytearray(data)
    for _ in range(draw.integers(1, 5)):
        if not mutant:
            return b""
        # Half of the changes hit the ends, where the structure of most formats is.
        edge = min(len(mutant), 600)
        places = (draw.integers(edge), len(mutant) - 1 - draw.integers(edge), draw.integers(len(mutant)))
        place = int(draw.choice(places))
        match draw.integers(8):
            case 0:
                mutant[place] ^= 1 << draw.integers(8)
            case 1:
                mutant[place] = draw.choice([0, 1, 9, 10, 27, 127, 128, 255])
            case 2:
                odd = [b"\xff" * 8, b"\x00" * 8, b"\xff" * 7 + b"\x7f", b"\xff\xff\xff\x7f", b"\x1b[2J"]
                piece = odd[draw.integers(len(odd))]
                mutant[place : place + len(piece)] = piece
            case 3:
                del mutant[place:]
            case 4:
                del mutant[place : place + draw.integers(1, 50)]
            case 5:
                other = draw.integers(len(mutant))
                mutant[place:place] = mutant[other : other + draw.integers(1, 50)]
            case 6:
                values = np.frombuffer(bytes(mutant), np.uint8)
                digits = np.flatnonzero((values >= 48) & (values <= 57))
                if len(digits):
                    at = digits[draw.integers(len(digits))]
                    numbers = [b"-1", b"0", b"99999999999", b"1e99", b"NaN", b"null", b'"x"', b"[]", b"{}"]
                    mutant[at : at + 1] = numbers[draw.integers(len(numbers))]
            case 7:
                words = [b"/", b"../", b"\\", b'"', b",", b"{", b"]", b"\x00", b"\n", b"\xc3"]
                mutant[place : place + 1] = words[draw.integers(len(words))]
    return bytes(mutant)


# The guard

_FORBIDDEN = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "socket.bind",
    "ctypes.dlopen",
    "shutil.unpack_archive",
    "shutil.move",
)
_guarded: list[Path] = []
violations: list[str] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _guarded:
        return
    if event in _FORBIDDEN or (event == "marshal.loads" and not _is_import(sys._getframe(1))):
        violations.append(f"{event}{arguments!r:.200}")
    elif event == "open":
        path, mode, flags = arguments
        writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & (
            os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        )
        if writes and isinstance(path, (str, bytes)) and not _inside(os.fsdecode(path)):
            violations.append(f"writes {os.fsdecode(path)!r:.200}")
    elif event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.chmod"):
        path = arguments[1] if event in ("os.rename", "os.symlink", "os.link") else arguments[0]
        if isinstance(path, (str, bytes)) and not _inside(os.fsdecode(path)):
            violations.append(f"{event} {os.fsdecode(path)!r:.200}")


def _is_import(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen importlib")


def _inside(path: str) -> bool:
    found = Path(path).absolute()
    return found == Path("/dev/null") or any(_guarded[0] in (p, *p.parents) for p in (found, found.resolve()))


class Hang(BaseException):
    """A read took too long."""


def _alarm(number: int, frame: object) -> None:
    raise Hang


def _files(folder: Path, victim: str) -> list[Path]:
    if victim.endswith("**"):
        return sorted(p for p in (folder / victim[:-3]).rglob("*") if p.is_file() and p.stat().st_size)
    return [folder / victim]


def _mutants(name: str, folder: Path, count: int) -> Iterator[tuple[Path, bytes]]:
    victims = [(path, path.read_bytes()) for path in _files(folder, READERS[name].victim)]
    draw = np.random.default_rng([0, *name.encode()])
    for _ in range(count):
        path, data = victims[draw.integers(len(victims))]
        yield path, mutated(data, draw)


def _structured(name: str, folder: Path, count: int) -> Iterator[tuple[Path, bytes]]:
    from tests.faults.structures import STRUCTURES

    draw = np.random.default_rng([1, *name.encode()])
    for _ in range(count):
        yield folder / READERS[name].victim, STRUCTURES[name](draw)


def _status(key: str) -> int:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) >> 10


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # where this is not allowed the peak is that of all files
        Path("/proc/self/clear_refs").write_text("5")


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether an error stands for one of memory, which a reader took for damage."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__context__
    return error is not None


def _try(read: Callable[[], object], told: dict[str, Any], seconds: int) -> str:
    """Reads one file; what is wrong with what came of it, or ''."""
    from alexnet_jax.data.images import BadImage
    from alexnet_jax.errors import RunFailure, UsageError

    signal.setitimer(signal.ITIMER_PROF, seconds)
    # What does not return to Python cannot be interrupted: this ends the process.
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * seconds)
    try:
        read()
        told["read"] += 1
    except (UsageError, RunFailure, BadImage) as error:
        told["refused"] += 1
        words = str(error)
        if not words or len(words) > 2000 or "\x1b" in words:
            return f"its message: {words[:300]!r}"
        if _out_of_memory(error):
            return f"takes all memory: {words[:300]!r}"
    except Hang:
        return "hangs"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:150]} at {Path(where.filename).name}:{where.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return ""


def _convert(path: Path) -> object:
    from alexnet_jax.interop import convert

    return convert.to_workdir(path, path.parent / "converted", _recipes())


def attack(kind: str, name: str, folder: Path, count: int) -> dict[str, Any]:
    """Reads `count` files; what came of them."""
    reader_name, make = name, None
    if kind == "attacks":
        from tests.faults.structures import ATTACKS

        reader_name, make = ATTACKS[name]
    reader = READERS[reader_name]
    whole = folder / "whole"
    whole.mkdir(parents=True)
    reader.write(whole)
    by_folder = reader_name.startswith(FOLDERS)
    reader.read(whole if by_folder else whole / reader.victim)
    read, files = (
        reader.read,
        _mutants(name, whole, count) if kind == "mutated" else _structured(name, whole, count),
    )
    if make:
        read = _convert if reader_name.startswith("weights") else reader.read
        files = iter([(whole / reader.victim, make())])
    told: dict[str, Any] = {"reader": name, "files": count, "read": 0, "refused": 0, "wrong": []}
    limits = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + ADDRESSES, limits[1]))
    signal.signal(signal.SIGPROF, _alarm)
    slowest, most, resting = 0.0, 0, _status("VmRSS")
    for index, (path, data) in enumerate(files):
        before = path.read_bytes()
        path.write_bytes(data)
        told["bytes"] = len(data)
        (folder / "current").write_text(f"{name}: {index}")
        _reset_peak()
        _guarded[:] = [folder.absolute().resolve()]
        started = time.process_time()
        wrong = _try(lambda path=path: read(whole if by_folder else path), told, SECONDS[kind])
        slowest = max(slowest, time.process_time() - started)
        _guarded.clear()
        more = _status("VmHWM") - resting
        most = max(most, more)
        if more > MEBIBYTES:
            wrong = wrong or f"takes {more} MiB"
        if violations:
            wrong = violations[0]
            violations.clear()
        if wrong:
            told["wrong"].append([index, wrong])
            if len(told["wrong"]) < 20:
                (folder.parent / f"{name.replace('/', '_')}-{kind}-{index}").write_bytes(data)
        path.write_bytes(before)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    told["slowest_seconds"], told["mebibytes_more"] = round(slowest, 3), most
    return told


def main() -> None:
    kind, folder, count, names = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    import jax

    jax.devices()
    sys.addaudithook(_audit)
    for number, name in enumerate(names):
        own = folder / str(number)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            told = attack(kind, name, own, count)
        shutil.rmtree(own)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
