"""What headers promise, against what decoding takes: measured in a process of its own, file by file."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from alexnet_jax.data import image_headers, images, memory
from tests.faults.structures import images as made

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
ROOT = Path(__file__).parents[2]
MIB = 2**20
# Each takes some 40 to 100 MiB: forms of three megapixels and more.
SIDE = 2600
MEASURED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "png": ("RGB", lambda: made.black_png(SIDE, SIDE, 8, 2)),
    "png, 16 bits": ("RGB", lambda: made.black_png(2 * SIDE, SIDE, 16, 0)),
    "png, 16 bits, to grey": ("L", lambda: made.black_png(4 * SIDE, SIDE, 16, 0)),
    "png, alpha": ("RGB", lambda: made.black_png(SIDE, SIDE, 8, 6)),
    "png, 1 bit": ("RGB", lambda: made.black_png(2 * SIDE, SIDE, 1, 0)),
    "png, palette": ("RGB", lambda: made.black_png(2 * SIDE, SIDE, 8, 3, made.chunk(b"tRNS", bytes(256)))),
    "jpeg": ("RGB", lambda: made.grey_jpeg(2 * SIDE, SIDE, (0x22, 0x11, 0x11), False)),
    "jpeg, progressive": ("RGB", lambda: made.grey_jpeg(SIDE, SIDE, made.FULL, True)),
    "jpeg, progressive, subsampled": ("RGB", lambda: made.grey_jpeg(SIDE, SIDE, (0x22, 0x11, 0x11), True)),
    "jpeg, cmyk": ("L", lambda: made.grey_jpeg(SIDE, SIDE, (0x11,) * 4, False)),
    "jpeg, turned": ("RGB", lambda: made.grey_jpeg(SIDE, SIDE, made.FULL, False, made.turned(6))),
    "tiff, one strip": ("RGB", lambda: made.black_tiff(SIDE, SIDE, 8, 8, 8)),
    "tiff, float": ("RGB", lambda: made.black_tiff(SIDE, SIDE, 32, sample=3)),
    "webp": ("RGB", lambda: made.plain_webp(SIDE // 2, SIDE // 2)),
    "gif": ("RGB", lambda: made.saved("GIF", (SIDE, SIDE), "P", transparency=0)),
}
MEASURE = """
import json, sys
from pathlib import Path
from alexnet_jax.data import images
status = lambda key: next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(key)) << 10
images.decode(Path(sys.argv[1]).read_bytes(), images.Preprocessing(1, 3, True))
for path in sys.argv[1:]:
    data, channels = Path(path).read_bytes(), 1 if path.endswith("-L") else 3
    resting = status("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("null")
        continue
    images.decode(data, images.Preprocessing(1, channels, "turned" in path))
    print(json.dumps(status("VmHWM") - resting))
"""


def test_decoding_takes_what_was_reserved(tmp_path: Path) -> None:
    paths, expected = [], []
    for name, (mode, make) in MEASURED.items():
        path = tmp_path / f"{name}-{mode}"
        data = make()
        path.write_bytes(data)
        paths.append(str(path))
        image = Image.open(io.BytesIO(data))
        needed = image_headers.decoding_bytes(image, data, mode)
        turned = image_headers.turned_bytes(image.size, mode) if "turned" in name else 0
        expected.append(max(needed, turned))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *paths],
        cwd=ROOT,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**16)},  # what is freed is given back at once
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if None in found:
        pytest.skip("peaks cannot be reset here (/proc/self/clear_refs)")
    for name, taken, reserved in zip(MEASURED, found, expected, strict=True):
        assert taken <= reserved + 16 * MIB, (name, taken / MIB, reserved / MIB)
        if name not in ("webp", "tiff, one strip"):  # of these the worst case is reserved
            assert taken >= 0.5 * reserved - 8 * MIB, (name, taken / MIB, reserved / MIB)


LARGE = 12_000, 8_000


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (made.black_png(*LARGE, 16, 0), "RGB"),
        (made.black_png(*LARGE, 16, 6), "RGB"),
        (made.grey_jpeg(*LARGE, made.FULL, True), "RGB"),
        (made.grey_jpeg(*LARGE, (0x11,) * 4, False), "RGB"),
        (made.black_tiff(*LARGE, 16, 16, 16), "RGB"),
        (made.black_tiff(*LARGE, 32, sample=3), "RGB"),
    ],
)
def test_a_hundred_megapixels_fit(data: bytes, mode: str) -> None:
    image = Image.open(io.BytesIO(data))
    assert image_headers.decoding_bytes(image, data, mode) <= memory.BUDGET
    assert image_headers.turned_bytes(image.size, mode) <= memory.BUDGET


@pytest.mark.parametrize(
    "name",
    [name for name, (kind, _) in made.ATTACKS.items() if not {"13,370", "660,000"} & set(name.split())],
)
def test_bombs_are_refused_before_they_are_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(image: Image.Image) -> None:
        pytest.fail("it is decoded")

    if "turned" in name:  # known after the decoding
        return
    data = made.ATTACKS[name][1]()
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", loaded)
    with pytest.raises(images.BadImage, match=r"more than|too long|exceeds") as error:
        images.resize_center_crop(data, images.Preprocessing(16, 3, True))
    assert "\n" not in str(error.value)


def test_scans_are_counted_in_the_image_alone() -> None:
    """Not those of a thumbnail before it, nor what looks like one behind it."""
    data = made.grey_jpeg(64, 64, made.FULL, True, made.segment(0xE1, b"thumbnail \xff\xda\xff\xd9"))
    at, plain = image_headers._first_scan(data)
    assert data[at : at + 2] == b"\xff\xda"
    assert plain
    assert image_headers._count_scans(data + b"\xff\xda\0\2" * 900, at, 10**6) == 1
    assert image_headers._count_scans(made.many_scans(64, 70), at, 10**6) != 1
    assert image_headers._count_scans(made.many_scans(64, 70), 2, 10**6) == 71
    assert image_headers._first_scan(data[:2] + b"\xff\xd0" + data[2:])[1] is False
