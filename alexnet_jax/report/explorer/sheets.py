"""What the channels look for, as the explorer's page holds it: numbers, and sheets of small images.

A sheet is one WebP file of square tiles in rows, without loss where that is small enough.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from itertools import groupby
from math import ceil, isqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from alexnet_jax.report import figures

if TYPE_CHECKING:
    from alexnet_jax.inference.explorer_data import SoughtPatches
    from alexnet_jax.inference.patches import ChannelPatches

MAX_TILE = 64  # pixels a side, of a patch: larger ones are made smaller
MAX_PIXELS = 3_000_000  # of a sheet of patches
MAX_LOSSLESS_BYTES = 600_000  # of a sheet of patches
MAX_IMAGES_BYTES = 1_000_000  # of the sheet of whole images: above it the page has their patches alone


def pack(sought: SoughtPatches) -> dict[str, Any]:
    """Return what the page's JSON has of the patches, all sheets as `data:` addresses.

    Returns:
      'lookedAt'; 'classes': of the images that hold a patch; 'images': the sheet of these whole images, or
      None where they are too large; 'layers': of each how many patches a channel has ('count'), the pixels of
      its largest ('side'), 'numbers' of each patch, channel after channel (value; which image; row and column
      in the feature map; top, left, bottom, right of what it sees), and in 'sheets' the 'projections' and,
      without 'images', the 'patches'.
    """
    order = {number: at for at, number in enumerate(sought.images)}
    images = _whole(list(sought.images.values()))
    layers = {
        name: _layer(channels, sought.peaks[name].values.shape, sought.sides[name], order, images is None)
        for name, channels in groupby(sought.channels, key=lambda channel: channel.layer)
    }
    classes = list(sought.classes.values())
    return {"lookedAt": sought.looked_at, "classes": classes, "images": images, "layers": layers}


def _whole(images: list[np.ndarray]) -> dict[str, Any] | None:
    """Return the sheet of whole images uint8 (S, S, C), exactly; None where it is too large."""
    side, across = len(images[0]), ceil(len(images) ** 0.5)
    if len(images) * side * side > MAX_PIXELS:
        return None
    sheet = _Sheet(side, across, len(images))
    for image in images:
        sheet.add(image, 1.0)
    file = sheet.file(lossless=True)
    return sheet.described(file) if len(file) <= MAX_IMAGES_BYTES else None


def _layer(
    shown: Iterable[ChannelPatches],
    shape: tuple[int, ...],
    side: int,
    order: Mapping[int, int],
    with_patches: bool,
) -> dict[str, Any]:
    """Return what the page has of a layer.

    The tiles of large patches are smaller than the patches. One at an image's edge, which is smaller than
    `side`, lies in the upper left of its tile.

    Args:
      shown: its channels.
      shape: patches a channel, channels.
      side: of its largest patch, in pixels.
      order: by the number of an image's record which of the page's images it is.
      with_patches: whether it needs a sheet of them.
    """
    count, channels = shape
    tile = min(side, MAX_TILE, isqrt(MAX_PIXELS // (count * channels)))
    across = count * max(1, round((channels / count) ** 0.5))
    names = ("projections", "patches") if with_patches else ("projections",)
    sheets = {name: _Sheet(tile, across, count * channels) for name in names}
    patches = []
    for channel in shown:
        for patch in channel.patches:
            value = float(f"{patch.value:.7g}")
            patches.append([value, order[patch.image], patch.row, patch.column, *patch.box])
            projection = figures.scaled(patch.projection, figures.CONTRAST)
            sheets["projections"].add(np.round(255 * projection).astype(np.uint8), tile / side)
            if with_patches:
                sheets["patches"].add(patch.pixels, tile / side)
    drawn = {name: sheet.described(sheet.bounded_file()) for name, sheet in sheets.items()}
    return {"count": count, "side": side, "numbers": patches, "sheets": drawn}


class _Sheet:
    """Tiles of `tile` pixels a side, `across` in a row."""

    def __init__(self, tile: int, across: int, count: int):
        self.tile, self.across, self.filled = tile, across, 0
        self.pixels = np.full((ceil(count / across) * tile, across * tile, 3), 128, np.uint8)

    def add(self, image: np.ndarray, scale: float) -> None:
        """Put uint8 (H, W, 1 or 3) into the next tile, `scale` times as large."""
        if scale < 1:
            height, width = (max(1, int(side * scale + 0.5)) for side in image.shape[:2])
            drawn = Image.fromarray(np.broadcast_to(image, (*image.shape[:2], 3)).copy())
            image = np.asarray(drawn.resize((width, height), Image.Resampling.BOX))
        top, left = (self.tile * at for at in divmod(self.filled, self.across))
        self.pixels[top : top + image.shape[0], left : left + image.shape[1]] = image
        self.filled += 1

    def file(self, lossless: bool) -> bytes:
        """Return a WebP file."""
        file = io.BytesIO()
        how: dict[str, Any] = {"lossless": True, "exact": True} if lossless else {"quality": 85}
        Image.fromarray(self.pixels).save(file, "webp", **how)
        return file.getvalue()

    def bounded_file(self) -> bytes:
        """Return a WebP file without loss, or with it where that would be too large."""
        file = self.file(lossless=True)
        return file if len(file) <= MAX_LOSSLESS_BYTES else self.file(lossless=False)

    def described(self, file: bytes) -> dict[str, Any]:
        """Return the sheet as the page reads it."""
        uri = f"data:image/webp;base64,{base64.b64encode(file).decode()}"
        return {"tile": self.tile, "across": self.across, "uri": uri}
