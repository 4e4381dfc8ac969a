"""Encoded images to pixels: decoding, scaling and the centre crop, as the paper has them (section 2)."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from alexnet_jax import extras
from alexnet_jax.data import file_kinds, memory
from alexnet_jax.data.augment import center_offset
from alexnet_jax.data.image_headers import TooLarge, check_encoded, decoding_bytes, turned_bytes
from alexnet_jax.errors import UsageError, WrongTypeError

# Pillow knows more: some start other programs (EPS), and nobody's images are in them.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # and HEIC, see `_open`
MAX_IMAGE_BYTES = 256 * 2**20  # of one encoded image
_PART = 2**18  # pixels that are converted at once
_ORIENTATION = 274  # EXIF 2.3
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


class BadImage(Exception):
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


def resize_center_crop(data: bytes, size: int, channels: int, exif_rotation: bool) -> np.ndarray:
    """Decode an image, scale its short side to `size` and cut out the centre (section 2).

    Pillow's bicubic filter with antialiasing; the long side is rounded to the nearest pixel. Only the part
    that the centre needs is computed, which gives the same pixels as scaling the whole.

    Args:
      data: a file in one of `FORMATS`: CMYK, 16-bit, palette and grey ones too. What is transparent lies
        on white.
      size: sides of the square.
      channels: 3 for RGB, 1 for grey.
      exif_rotation: whether to turn the image as its EXIF entry says; ImageNet was prepared without.

    Returns:
      uint8 (size, size, channels).

    Raises:
      BadImage: not an image, a truncated one, or one that takes more than `memory.BUDGET` to decode.
    """
    with _decoded(data, "RGB" if channels == 3 else "L", exif_rotation) as whole:
        return _center(whole, size, channels)


def resize_center_crop_decoded(image: Image.Image | np.ndarray, size: int, channels: int) -> np.ndarray:
    """Do what `resize_center_crop` does to an image that is decoded already.

    Args:
      image: of Pillow, turned as its EXIF entry says, or uint8 (H, W), (H, W, 1) or (H, W, 3).
      size: sides of the square.
      channels: 3 for RGB, 1 for grey.

    Returns:
      uint8 (size, size, channels).

    Raises:
      WrongTypeError: neither of the two, or an array that is not uint8.
      UsageError: an array of another shape.
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
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        whole = whole if turn is None else whole.transpose(turn)
    else:
        raise WrongTypeError(
            f"an image is a path, an array or an image of Pillow, not {type(image).__name__}"
        )
    return _center(_converted(whole, "RGB" if channels == 3 else "L"), size, channels)


def _center(whole: Image.Image, size: int, channels: int) -> np.ndarray:
    """Return the centre of an image whose short side is scaled to `size`."""
    width, height = whole.size
    short = min(width, height)
    scaled = (max(round(width * size / short), size), max(round(height * size / short), size))
    left, top = center_offset(scaled[0], size), center_offset(scaled[1], size)
    across, down = width / scaled[0], height / scaled[1]
    # Where a side is 10**7 pixels, rounding may lead over the edge.
    box = (
        left * across,
        top * down,
        min((left + size) * across, width),
        min((top + size) * down, height),
    )
    center = (
        whole
        if scaled == whole.size == (size, size)
        else whole.resize((size, size), Image.Resampling.BICUBIC, box=box)
    )
    return np.asarray(center, np.uint8).reshape(size, size, channels)


def decode(data: bytes, channels: int, exif_rotation: bool) -> Image.Image:
    """Decode an image at its own size.

    Args:
      data: a file in one of `FORMATS`; what is transparent lies on white.
      channels: 3 for RGB, 1 for grey.
      exif_rotation: whether to turn the image as its EXIF entry says.

    Returns:
      Pillow's image in mode RGB or L.

    Raises:
      BadImage: not an image, a truncated one, or one that takes more than `memory.BUDGET` to decode.
    """
    with _decoded(data, "RGB" if channels == 3 else "L", exif_rotation) as whole:
        return whole


def read_size(data: bytes) -> tuple[int, int]:
    """Return width and height of an encoded image, of which nothing is decoded; BadImage as `decode`."""
    with _told(data):
        return _open(data).size


@contextlib.contextmanager
def _decoded(data: bytes, mode: str, exif_rotation: bool) -> Iterator[Image.Image]:
    """Decode an image to `mode`, RGB or L, at its own size; reserve its memory while the block runs."""
    with _told(data):
        image = _open(data)
        needed = decoding_bytes(image, data, mode)
        _check_memory(image, needed)
        if exif_rotation:  # whether it must be turned may stand behind its pixels
            needed = max(needed, turned_bytes(image.size, mode))
        with memory.reserve(needed):
            image.load()
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1)) if exif_rotation else None
            image = _converted(image, mode)
            if turn is not None:
                _check_memory(image, turned_bytes(image.size, mode))
                image = image.transpose(turn)
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


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """`image` in `mode`, RGB or L, part by part: 16 bits scaled to 8, transparency laid on white."""
    if image.mode == mode and "transparency" not in image.info:
        return image
    boxes = list(_boxes(image.size))
    divisor = 1
    if image.mode.startswith("I") and max(np.asarray(image.crop(box)).max() for box in boxes) > 255:
        divisor = 257  # 16 bits to 8
    if len(boxes) == 1:
        return _plain(image, mode, divisor)
    whole = Image.new(mode, image.size)
    for box in boxes:
        whole.paste(_plain(image.crop(box), mode, divisor), box)
    return whole


def _boxes(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of at most `_PART` pixels that cover an image."""
    across = min(size[0], _PART)
    down = _PART // across
    for top in range(0, size[1], down):
        for left in range(0, size[0], across):
            yield left, top, min(left + across, size[0]), min(top + down, size[1])


def _plain(image: Image.Image, mode: str, divisor: int) -> Image.Image:
    """`image` in `mode`, RGB or L; values of 16 or 32 bits are divided by `divisor`."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
        values = np.asarray(image, np.float64) / divisor
        with np.errstate(invalid="ignore"):  # a float that is no number
            image = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert(mode)
