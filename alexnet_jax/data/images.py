"""Encoded images to the squares that nets read: decoding, scaling, cutting, as each net was trained."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, UnidentifiedImageError

from alexnet_jax import extras
from alexnet_jax.data import file_kinds, memory, opencv
from alexnet_jax.data.augment import center_offset
from alexnet_jax.data.image_headers import TooLarge, check_encoded, decoding_bytes, turned_bytes
from alexnet_jax.errors import OneLine, UsageError, WrongTypeError

# Pillow knows more: some start other programs (EPS), and nobody's images are in them.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # and HEIC, see `_open`
MAX_IMAGE_BYTES = 256 * 2**20  # of one encoded image
_PART = 2**18  # pixels that are converted at once
# Of a scaled image that is computed whole; or twice the square, where that is more. A pixel takes 4 bytes.
_MOST_SCALED = 2**22
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_ORIENTATION, _BITS = 274, 258  # EXIF 2.3, TIFF 6.0
# What a user should know of images that were read, each beside how many and which one.
TURNED = "stored turned, and read as stored: config.data.exif_rotation=True turns such images"
DARK = (
    "of more than 8 bits, of which less than a quarter is used, so dark: config.data.white_level says which "
    "value is white"
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Damaged metadata and sizes of which Pillow warns are nothing that a user can act on: `image_headers` has the
# limits. Here, once: what the standard library has for a block of code (catch_warnings) changes all threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadImage(OneLine, ValueError):
    """The bytes are not an image that can be used; the message says why."""


def read_file(path: Path) -> bytes:
    """Return the bytes of an image's file.

    Raises:
      BadImage: it is larger than any image. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_IMAGE_BYTES:
            raise BadImage(f"{size:,} bytes are more than the {MAX_IMAGE_BYTES:,} that an image may have")
        return file.read(MAX_IMAGE_BYTES)


@dataclass(frozen=True)
class Preprocessing:
    """What decides how the file of an image becomes the square that a net reads: keys of `config.data`.

    Attributes:
      size: sides of the square.
      channels: 3 for RGB, 1 for grey.
      exif_rotation: whether an image is turned as its EXIF entry says; ImageNet was prepared without.
      white_level: which value is white in images of more than 8 bits a channel; 0: what the file declares.
      resize: 'cut': the short side becomes `size`, and the centre is kept; 'squash': both sides become it.
      resize_filter: 'bicubic' or 'bilinear', Pillow's with antialiasing, or 'opencv_bilinear', as `opencv`.
      resize_rounding: of the long side and of where the centre begins: 'nearest', and the smaller of two
        places that are as central; or 'torchvision', as its Resize and CenterCrop.
    """

    size: int
    channels: int
    exif_rotation: bool = False
    white_level: float = 0.0
    resize: str = "cut"
    resize_filter: str = "bicubic"
    resize_rounding: str = "nearest"

    @classmethod
    def of(cls, data: ConfigDict) -> Self:
        """Return what `config.data` says."""
        return cls(**{field.name: data[field.name] for field in fields(cls)})

    def in_words(self) -> str:
        """Return how an image becomes a square, for the user."""
        turned = "turned by EXIF, " if self.exif_rotation else ""
        if self.resize == "squash":
            return f"{turned}squashed to {self.size} x {self.size} ({self.resize_filter})"
        rounding = ", rounded as torchvision rounds" if self.resize_rounding == "torchvision" else ""
        return f"{turned}short side to {self.size} ({self.resize_filter}{rounding}), and the centre of it"


PREPROCESSING_KEYS = tuple(field.name for field in fields(Preprocessing))


def resize_center_crop(data: bytes, how: Preprocessing, notes: list[str] | None = None) -> np.ndarray:
    """Decode an image and make it the square that a net reads (section 2 of the paper, or as `how` says).

    By default the paper's: Pillow's bicubic filter with antialiasing, the short side to `how.size`, the long
    one rounded to the nearest pixel, and the centre of it. Only the part that the centre needs is computed.
    That is scaling the whole but for rounding, and for where Pillow then takes the columns before the rows,
    between which it clips values to 0 to 255: on 200 photographs by 1 in the median, and by up to 20 in
    single pixels. With torchvision's rounding the whole is scaled, as torchvision does, so that its pixels
    come out; only of an image that would take far more than its square (at 256: whose long side is more than
    64 times its short one), the part.

    Args:
      data: a file in one of `FORMATS`: CMYK, 16-bit, palette and grey ones too. What is transparent lies
        on white.
      how: what the square is like.
      notes: takes what the user should know about how this image was read, in words such as `TURNED`.

    Returns:
      uint8 (size, size, channels).

    Raises:
      BadImage: not an image, a truncated one, one that takes more than `memory.BUDGET` to decode, or one of
        whose values nothing says which is white.
    """
    with _decoded(data, how, notes) as whole:
        return _square(whole, how)


def resize_center_crop_decoded(image: Image.Image | np.ndarray, how: Preprocessing) -> np.ndarray:
    """Do what `resize_center_crop` does to an image that is decoded already.

    Args:
      image: of Pillow, or uint8 (H, W), (H, W, 1) or (H, W, 3).
      how: what the square is like.

    Returns:
      uint8 (size, size, channels).

    Raises:
      WrongTypeError: neither of the two, or an array that is not uint8.
      UsageError: an array of another shape. BadImage: as `resize_center_crop`.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8:
            raise WrongTypeError(f"an image is uint8 from 0 to 255, not {image.dtype} {image.shape}")
        grey = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1)
        if not (grey or (image.ndim == 3 and image.shape[2] == 3)) or 0 in image.shape:
            raise UsageError(f"an image is uint8 (H, W), (H, W, 1) or (H, W, 3), not {image.shape}")
        whole = Image.fromarray(image.reshape(image.shape[:2]) if grey else image)
    elif isinstance(image, Image.Image):
        whole = image
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1)) if how.exif_rotation else None
        whole = whole if turn is None else whole.transpose(turn)
    else:
        raise WrongTypeError(
            f"an image is a path, an array or an image of Pillow, not {type(image).__name__}"
        )
    mode = "RGB" if how.channels == 3 else "L"
    return _square(_converted(whole, mode, how.white_level), how)


def _square(whole: Image.Image, how: Preprocessing) -> np.ndarray:
    """Return the square of an image that is decoded, uint8 (size, size, channels)."""
    size = how.size
    scaled, (left, top) = _scaled(whole.size, how)
    if how.resize_filter == "opencv_bilinear":
        pixels = opencv.resized_part(whole, scaled, (left, top, left + size, top + size))
    elif scaled == whole.size == (size, size):
        pixels = np.asarray(whole, np.uint8)
    elif _is_scaled_whole(scaled, how):
        center = whole.resize(scaled, _FILTERS[how.resize_filter])
        pixels = np.asarray(center.crop((left, top, left + size, top + size)), np.uint8)
    else:
        across, down = whole.width / scaled[0], whole.height / scaled[1]
        # Where a side is 10**7 pixels, rounding may lead over the edge.
        box = (
            left * across,
            top * down,
            min((left + size) * across, whole.width),
            min((top + size) * down, whole.height),
        )
        pixels = np.asarray(whole.resize((size, size), _FILTERS[how.resize_filter], box=box), np.uint8)
    return pixels.reshape(size, size, how.channels)


def _scaled(sides: tuple[int, int], how: Preprocessing) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the sides of the scaled image, and left and top of the square in it."""
    size, (width, height) = how.size, sides
    if how.resize == "squash":
        return (size, size), (0, 0)
    short = min(width, height)
    if how.resize_rounding == "torchvision":  # Resize and CenterCrop; Python's round: half to even
        across, down = int(size * width / short), int(size * height / short)
        return (across, down), (round((across - size) / 2), round((down - size) / 2))
    across, down = max(round(width * size / short), size), max(round(height * size / short), size)
    return (across, down), (center_offset(across, size), center_offset(down, size))


def _is_scaled_whole(scaled: tuple[int, int], how: Preprocessing) -> bool:
    """Return whether the whole image is scaled, of which the square is then a part."""
    if how.resize == "squash":
        return True
    most = max(_MOST_SCALED, 2 * how.size**2)
    return how.resize_rounding == "torchvision" and scaled[0] * scaled[1] <= most


def decode(data: bytes, how: Preprocessing) -> Image.Image:
    """Decode an image at its own size.

    Args:
      data: a file in one of `FORMATS`; what is transparent lies on white.
      how: its size is not used.

    Returns:
      Pillow's image in mode RGB or L.

    Raises:
      BadImage: as `resize_center_crop`.
    """
    with _decoded(data, how, None) as whole:
        return whole


def read_size(data: bytes) -> tuple[int, int]:
    """Return width and height of an encoded image, of which nothing is decoded; BadImage as `decode`."""
    with _told(data):
        return _open(data).size


@contextlib.contextmanager
def _decoded(data: bytes, how: Preprocessing, notes: list[str] | None) -> Iterator[Image.Image]:
    """Decode an image at its own size, RGB or grey; reserve its memory while the block runs."""
    mode = "RGB" if how.channels == 3 else "L"
    with _told(data):
        image = _open(data)
        needed = decoding_bytes(image, data, mode)
        _check_memory(image, needed)
        if how.exif_rotation:  # whether it must be turned may stand behind its pixels
            needed = max(needed, turned_bytes(image.size, mode))
        with memory.reserve(needed):
            image.load()
            turn = None
            if how.exif_rotation or (notes is not None and "exif" in image.info):
                turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
            image = _converted(image, mode, how.white_level, notes)
            if turn is not None and how.exif_rotation:
                _check_memory(image, turned_bytes(image.size, mode))
                image = image.transpose(turn)
            elif turn is not None and notes is not None:
                notes.append(TURNED)
            yield image


@contextlib.contextmanager
def _told(data: bytes) -> Iterator[None]:
    """Turn whatever Pillow raises while it decodes `data` into a BadImage."""
    try:
        yield
    except UnidentifiedImageError:
        known = file_kinds.describe(data)
        raise BadImage(known or f"not an image in one of the formats {', '.join(FORMATS)}") from None
    except (MemoryError, BadImage):
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise BadImage(str(error) or type(error).__name__) from error


def _open(data: bytes) -> Image.Image:
    check_encoded(data)
    formats: tuple[str, ...] = FORMATS
    if file_kinds.kind_of(data[: file_kinds.HEAD_BYTES]) == "HEIC":
        if extras.missing("heic"):
            raise BadImage(heic_is_missing())
        from pillow_heif import register_heif_opener

        register_heif_opener()
        formats = ("HEIF",)
    return Image.open(io.BytesIO(data), formats=formats)


def heic_is_missing() -> str:
    """Return the words for an image that a package would decode which is not installed."""
    return f"a HEIC image, which needs {extras.EXTRAS['heic'][0]}: {extras.install('heic')}"


def _check_memory(image: Image.Image, needed: int) -> None:
    if needed > memory.BUDGET:
        raise TooLarge(
            f"{image.width:,} x {image.height:,} pixels take {needed >> 20:,} MiB to decode, more than the "
            f"{memory.BUDGET >> 20:,} MiB that an image may"
        )


def _converted(
    image: Image.Image, mode: str, white_level: float, notes: list[str] | None = None
) -> Image.Image:
    """`image` in `mode`, RGB or L, part by part: deep values scaled to 8 bits, transparency laid on white."""
    if image.mode == mode and "transparency" not in image.info:
        return image
    boxes = list(_boxes(image.size))
    white = 255.0
    if image.mode.startswith(("I", "F")):
        white = _white(image, boxes, white_level, notes)
    if len(boxes) == 1:
        return _plain(image, mode, white)
    whole = Image.new(mode, image.size)
    for box in boxes:
        whole.paste(_plain(image.crop(box), mode, white), box)
    return whole


def _white(
    image: Image.Image,
    boxes: list[tuple[int, int, int, int]],
    white_level: float,
    notes: list[str] | None,
) -> float:
    """Return which value of a deep image is white: what the user says, else what its file declares.

    Never its own brightest value: how bright an image looks must not depend on what is in it.

    Raises:
      BadImage: the file declares nothing, as those of 32 bits and of floats beyond 1.
    """
    if white_level:
        return white_level
    extremes = [(part.min(), part.max()) for part in (np.asarray(image.crop(box)) for box in boxes)]
    lowest, highest = float(np.min(extremes)), float(np.max(extremes))
    declared = _declared_white(image)
    if declared is None or not (lowest >= 0 and highest <= declared):
        kind = "floats" if image.mode == "F" else "whole numbers of 32 bits or with a sign"
        raise BadImage(
            f"its values are {kind} from {lowest:g} to {highest:g}, and nothing says which is white: "
            "config.data.white_level does"
        )
    if declared > 1 and 4 * highest < declared and notes is not None:
        notes.append(DARK)
    return declared


def _declared_white(image: Image.Image) -> float | None:
    """Return the largest value that the file of a deep image can hold; None where that says nothing."""
    if image.mode == "F":
        return 1.0
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS, (1,))[0]
        return 2.0**bits - 1 if image.mode.startswith("I;") else None
    return 65535.0  # of PNG, and of PGM as Pillow scales its values


def _boxes(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of at most `_PART` pixels that cover an image."""
    across = min(size[0], _PART)
    down = _PART // across
    for top in range(0, size[1], down):
        for left in range(0, size[0], across):
            yield left, top, min(left + across, size[0]), min(top + down, size[1])


def _plain(image: Image.Image, mode: str, white: float) -> Image.Image:
    """`image` in `mode`, RGB or L; values of more than 8 bits are scaled, so that `white` becomes 255."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float64) * (255 / white)
        with np.errstate(invalid="ignore"):  # a float that is no number
            image = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)
