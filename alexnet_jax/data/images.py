"""Encoded images to pixels: decoding, scaling and the centre crop, as the paper has them (section 2)."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from alexnet_jax.data.augment import center_offset

# Pillow knows more: some start other programs (EPS), and nobody's images are in them.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class BadImage(Exception):
    """The bytes are not an image that can be used; the message says why."""


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
      BadImage: not an image, a truncated one, or one of absurd size (Pillow's limit, 179 megapixels).
    """
    whole = decode(data, channels, exif_rotation)
    width, height = whole.size
    short = min(width, height)
    scaled = (max(round(width * size / short), size), max(round(height * size / short), size))
    left, top = center_offset(scaled[0], size), center_offset(scaled[1], size)
    across, down = width / scaled[0], height / scaled[1]
    box = (left * across, top * down, (left + size) * across, (top + size) * down)
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
      BadImage: not an image, a truncated one, or one of absurd size (Pillow's limit, 179 megapixels).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.load()
                whole = ImageOps.exif_transpose(image) if exif_rotation else image
                return _plain(whole, "RGB" if channels == 3 else "L")
    except UnidentifiedImageError:
        raise BadImage(f"not an image in one of the formats {', '.join(FORMATS)}") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise BadImage(str(error) or type(error).__name__) from error


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """`image` in `mode`, RGB or L: 16 bits scaled to 8, transparency laid on white."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
        values = np.asarray(image, np.float64)
        if image.mode != "F" and values.max(initial=0) > 255:
            values = values / 257  # 16 bits to 8
        image = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert(mode)
