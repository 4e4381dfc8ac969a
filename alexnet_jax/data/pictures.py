"""One encoded picture to a square of pixels, as the paper prepared ImageNet (section 2)."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow knows more: some start other programs (EPS), and nobody's pictures are in them.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


class BadPicture(Exception):
    """The bytes are not a picture that can be used; the message says why."""


def square(data: bytes, size: int, channels: int, exif_rotation: bool) -> np.ndarray:
    """Decodes a picture, scales its short side to `size` and cuts out the centre (section 2).

    Pillow's bicubic filter with antialiasing; the long side is rounded to the nearest pixel. Only the part
    that the centre needs is computed, which gives the same pixels as scaling the whole.

    Args:
      data: a file in one of `FORMATS`: CMYK, 16-bit, palette and grey ones too. What is transparent lies
        on white.
      size: sides of the square.
      channels: 3 for RGB, 1 for grey.
      exif_rotation: whether to turn the picture as its EXIF entry says; ImageNet was prepared without.

    Returns:
      uint8 (size, size, channels).

    Raises:
      BadPicture: not a picture, a truncated one, or one of absurd size (Pillow's limit, 179 megapixels).
    """
    plain = decode(data, channels, exif_rotation)
    width, height = plain.size
    short = min(width, height)
    scaled = (max(round(width * size / short), size), max(round(height * size / short), size))
    left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    across, down = width / scaled[0], height / scaled[1]
    box = (left * across, top * down, (left + size) * across, (top + size) * down)
    centre = (
        plain
        if scaled == plain.size == (size, size)
        else plain.resize((size, size), Image.Resampling.BICUBIC, box=box)
    )
    return np.asarray(centre, np.uint8).reshape(size, size, channels)


def decode(data: bytes, channels: int, exif_rotation: bool) -> Image.Image:
    """A picture at its own size, in Pillow's mode RGB or L; arguments and errors as `square` has them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.load()
                whole = ImageOps.exif_transpose(image) if exif_rotation else image
                return _plain(whole, "RGB" if channels == 3 else "L")
    except UnidentifiedImageError:
        raise BadPicture(f"not a picture in one of the formats {', '.join(FORMATS)}") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise BadPicture(str(error) or type(error).__name__) from error


def _plain(image: Image.Image, mode: str) -> Image.Image:
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
