"""Sources that tests make: class folders, archives of them, awkward images, an ImageNet of a few classes."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax.data.sources.detect import open_source

Files = dict[str, bytes]


def image_file(number: int, kind: str = "JPEG", size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    """A smooth image, another one for each number."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode).save(file, kind)
    return file.getvalue()


def center_by_pillow(data: bytes, size: int, mode: str = "RGB") -> np.ndarray:
    """The whole image is scaled, then its centre cut out."""
    image = Image.open(io.BytesIO(data)).convert(mode)
    short = min(image.size)
    image = image.resize(
        (round(image.width * size / short), round(image.height * size / short)), Image.Resampling.BICUBIC
    )
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size))).reshape(size, size, -1)


def awkward() -> Files:
    """Every kind that ImageNet, or a user's folder, holds."""
    gradient = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    sixteen, palette, clear, rotated = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(gradient).save(sixteen, "PNG")
    base = Image.open(io.BytesIO(image_file(1)))
    base.convert("P").save(palette, "PNG", transparency=0)
    base.convert("RGBA").save(clear, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    base.save(rotated, "JPEG", exif=exif)
    ycck = bytearray(image_file(11, mode="CMYK"))
    adobe = ycck.index(b"Adobe")  # its last byte says how the four channels are coded; 2: YCCK
    ycck[adobe + 11] = 2
    return {
        "cmyk.JPEG": image_file(2, mode="CMYK"),
        "ycck.JPEG": bytes(ycck),
        "grey.JPEG": image_file(3, mode="L"),
        "sixteen.png": sixteen.getvalue(),
        "palette.png": palette.getvalue(),
        "alpha.png": clear.getvalue(),
        "png.JPEG": image_file(4, "PNG"),
        "narrow.png": image_file(5, "PNG", (1, 300)),
        "wide.JPEG": image_file(6, size=(5000, 20)),
        "large.JPEG": image_file(7, size=(3000, 2500)),
        "rotated.JPEG": rotated.getvalue(),
        "one.gif": image_file(8, "GIF"),
    }


def broken() -> Files:
    header = bytearray(image_file(9, "PNG"))
    header[16:24] = (60_000).to_bytes(4, "big") * 2  # it claims 3.6 thousand million pixels
    return {
        "bomb.png": bytes(header),
        "cut.JPEG": image_file(10)[:200],
        "empty.JPEG": b"",
        "text.JPEG": b"not an image",
        "program.JPEG": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",  # Pillow would run it
    }


def class_folders(train: int = 12, test: int = 4, labels: tuple[str, ...] = ("ant", "bee", "cat")) -> Files:
    files: Files = {}
    for c, label in enumerate(labels):
        for split, count in (("train", train), ("test", test)):
            for index in range(count):
                number = 1000 * c + 500 * (split == "test") + index
                files[f"{split}/{label}/{index:03d}.jpg"] = image_file(number)
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


def all_images(path: Path | str) -> dict[tuple[str, str, str], bytes]:
    """{(split, class, key): bytes} of a source, as the program finds it."""
    listed = list(open_source(str(path)).images())
    images = {(entry.split, entry.label, entry.key): data for entry, data in listed}
    assert len(images) == len(listed)
    return images


def located(files: Mapping[str, bytes]) -> dict[tuple[str, str, str], bytes]:
    """{(split, class, key): bytes} of files named split/class/..."""
    return {(n.split("/")[0], n.split("/")[1], n.split("/", 1)[1]): data for n, data in files.items()}


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def shipped(name: str) -> list[str]:
    return Path(tfds.core.tfds_path(f"datasets/imagenet2012/{name}")).read_text().split()


def imagenet(classes: int = 5, each: int = 30, validation: int = 3) -> tuple[Files, Files]:
    """Training and validation images of the first classes of ILSVRC-2012, by names as it has them."""
    synsets, truth = shipped("labels.txt")[:classes], shipped("validation_labels.txt")
    train = {
        f"{synset}/{synset}_{index}.JPEG": image_file(100 * number + index)
        for number, synset in enumerate(synsets)
        for index in range(each)
    }
    numbers = [n for synset in synsets for n in [i for i, s in enumerate(truth) if s == synset][:validation]]
    val = {f"ILSVRC2012_val_{n + 1:08d}.JPEG": image_file(50_000 + n) for n in sorted(numbers)}
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
