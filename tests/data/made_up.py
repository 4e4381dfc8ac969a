"""Sources that tests make: class folders, archives of them, and an ImageNet of a few classes."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

Files = dict[str, bytes]


def picture(number: int, kind: str = "JPEG", size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    """A smooth picture, another one for each number."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode).save(file, kind)
    return file.getvalue()


def class_folders(train: int = 12, test: int = 4, labels: tuple[str, ...] = ("ant", "bee", "cat")) -> Files:
    files: Files = {}
    for c, label in enumerate(labels):
        for split, count in (("train", train), ("test", test)):
            for index in range(count):
                number = 1000 * c + 500 * (split == "test") + index
                files[f"{split}/{label}/{index:03d}.jpg"] = picture(number)
    return files


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def tar_bytes(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def shipped(name: str) -> list[str]:
    return Path(tfds.core.tfds_path(f"datasets/imagenet2012/{name}")).read_text().split()


def imagenet(classes: int = 5, each: int = 30, validation: int = 3) -> tuple[Files, Files]:
    """Training and validation pictures of the first classes of ILSVRC-2012, by names as it has them."""
    synsets, truth = shipped("labels.txt")[:classes], shipped("validation_labels.txt")
    train = {
        f"{synset}/{synset}_{index}.JPEG": picture(100 * number + index)
        for number, synset in enumerate(synsets)
        for index in range(each)
    }
    numbers = [n for synset in synsets for n in [i for i, s in enumerate(truth) if s == synset][:validation]]
    val = {f"ILSVRC2012_val_{n + 1:08d}.JPEG": picture(50_000 + n) for n in sorted(numbers)}
    return train, val


def write_imagenet_tars(folder: Path, train: Files, val: Files) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tars: dict[str, Files] = {}
    for name, data in train.items():
        synset, file = name.split("/")
        tars.setdefault(synset, {})[file] = data
    outer = {f"{synset}.tar": tar_bytes(files) for synset, files in tars.items()}
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_bytes(outer))
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_bytes(val))
    return folder
