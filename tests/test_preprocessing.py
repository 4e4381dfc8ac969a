"""From files to pixels and to answers, against torchvision itself and Caffe's documented form."""

import importlib.util
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax.data import image_files
from alexnet_jax.data.augment import views_of
from alexnet_jax.inference import predict
from configs import imagenet_torchvision
from tests.interop import makers
from tests.interop.helpers import converted
from tests.interop.test_layout import caffe_logits

pytestmark = pytest.mark.slow
PHOTOGRAPHS = 100


@pytest.fixture(scope="module")
def torchvision() -> Any:
    """The package; where its wheel was built for CUDA, two operators that it registers are defined first."""
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    library = None
    if torch.version.cuda is None:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
    import torchvision.transforms

    yield torchvision
    del library


@pytest.fixture(scope="module")
def photographs(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A hundred photographs of as many classes as there are: the first of each."""
    folder = tmp_path_factory.mktemp("photographs")
    found: dict[str, Path] = {}
    with tarfile.open(real_data / "caltech101_30.tar.xz") as archive:
        for member in archive:
            label = Path(member.name).parent.name
            if member.isfile() and label not in found:
                found[label] = folder / f"{label}.jpg"
                found[label].write_bytes(archive.extractfile(member).read())
            if len(found) == PHOTOGRAPHS:
                break
    return sorted(found.values())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Made images: each kind and each parity of sides, enlarged ones, and long ones."""
    folder, draw = tmp_path_factory.mktemp("made"), np.random.default_rng(26)

    def image(width: int, height: int, mode: str = "RGB") -> Image.Image:
        coarse = draw.integers(0, 256, (max(height // 6, 1), max(width // 6, 1), 3), np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)

    paths = []

    def save(of: Image.Image, name: str, **options: Any) -> None:
        paths.append(folder / name)
        of.save(paths[-1], **options)

    for width in (255, 256, 257, 301, 302, 511, 512, 640):
        for height in (255, 256, 257, 334, 427):
            save(image(width, height), f"{width}x{height}.png")
    for width, height in (
        (1, 1),
        (3, 2),
        (17, 31),
        (224, 224),
        (100, 255),
        (1200, 90),
        (90, 1201),
        (2000, 1501),
    ):
        save(image(width, height), f"{width}x{height}.png")
    exif = Image.Exif()
    for turn in range(2, 9):
        exif[0x0112] = turn
        save(image(301, 222), f"turned-{turn}.jpg", exif=exif, quality=90)
    for mode in ("L", "CMYK", "RGB"):
        for width, height in ((333, 250), (250, 334)):
            save(image(width, height, mode), f"{mode}-{width}.jpg", quality=90)
    for mode in ("L", "P", "1"):
        save(image(333, 251, mode), f"{mode}.png")
    return paths


def squares(paths: list[Path]) -> np.ndarray:
    """The views that the product cuts of files, uint8 (N, 224, 224, 3)."""
    data = imagenet_torchvision.get_config().data
    ((top, left, _),) = views_of(1, data.size, data.crop)
    batches = list(image_files.decode_batches(paths, data, 50))
    assert not any(error for batch in batches for error in batch.errors)
    images = np.concatenate([batch.images for batch in batches])[: len(paths)]
    return images[:, top : top + data.crop, left : left + data.crop]


def by_torchvision(torchvision: Any, path: Path) -> np.ndarray:
    """The pixels of its documented transforms, uint8 (224, 224, 3)."""
    transforms = torchvision.transforms
    both = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    return np.asarray(both(torchvision.datasets.folder.default_loader(str(path))))


def test_pixels_of_photographs_and_made_images(torchvision, photographs, made):
    """To the last bit."""
    paths = photographs + made
    sizes = [Image.open(path).size for path in paths]
    assert {(width % 2, height % 2) for width, height in sizes[:PHOTOGRAPHS]} == {
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    }
    for path, pixels in zip(paths, squares(paths), strict=True):
        np.testing.assert_array_equal(pixels, by_torchvision(torchvision, path), err_msg=path.name)


def test_pixels_of_very_long_images(torchvision, tmp_path):
    """Of those that are longer than 64 times their short side the part alone is scaled: one grey level."""
    draw = np.random.default_rng(64)
    for width, height in ((1300, 20), (20, 1300), (2203, 31), (31, 2203), (1, 90)):
        coarse = draw.integers(0, 256, (-(-height // 9), -(-width // 9), 3), np.uint8)
        path = tmp_path / f"{width}x{height}.png"
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
        off = np.abs(squares([path])[0].astype(int) - by_torchvision(torchvision, path))
        assert off.max() <= 1
        assert (off > 0).mean() <= 0.1


def test_features_of_photographs(torchvision, photographs, real_data, tmp_path):
    """pool5 of the published convolutions, from files on."""
    import torch

    arrays = np.load(real_data / "torchvision_alexnet_features.npz")
    net = torchvision.models.alexnet(weights=None, num_classes=2).features.eval()
    places = (0, 3, 6, 8, 10)
    with torch.no_grad():
        for number, place in enumerate(places, 1):
            net[place].weight.copy_(torch.tensor(arrays[f"conv{number}/kernel"].transpose(3, 2, 0, 1)))
            net[place].bias.copy_(torch.tensor(arrays[f"conv{number}/bias"]))
        wanted = net(torch.stack([documented(torchvision, path) for path in photographs]))
    _, printed = converted(real_data / "torchvision_alexnet_features.npz", tmp_path / "run")
    assert (
        "images: short side to 256 (bilinear, rounded as torchvision rounds), and the centre of it" in printed
    )
    found = alexnet_jax.load(tmp_path / "run").features(photographs, ["pool5"])["pool5"]
    wanted = wanted.numpy().transpose(0, 2, 3, 1)
    assert np.linalg.norm(found - wanted) <= 1e-4 * np.linalg.norm(wanted)
    assert np.abs(found - wanted).max() <= 1e-4 * wanted.max()


def documented(torchvision: Any, path: Path) -> Any:
    """What torchvision's own preset of AlexNet makes of a file, a tensor (3, 224, 224)."""
    preset = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.transforms()
    return preset(torchvision.datasets.folder.default_loader(str(path)))


def test_probabilities_of_a_whole_net(torchvision, photographs, made, tmp_path):
    """A random AlexNet of torchvision, by `convert`, then by files to `predict` and to the library."""
    import torch

    torch.manual_seed(26)
    net = torchvision.models.alexnet(weights=None).eval()
    paths = [*photographs[:12], *made[::5]]
    with torch.no_grad():
        images = torch.stack([documented(torchvision, path) for path in paths])
        net.classifier[6].weight *= 4 / net(images).std()  # so that probabilities are far from equal
        logits = net(images)
        wanted = torch.softmax(logits, 1).numpy()
    assert wanted.max() > 0.1
    torch.save(net.state_dict(), tmp_path / "net.pth")
    run, _ = converted(tmp_path / "net.pth", tmp_path / "run")
    loaded = alexnet_jax.load(tmp_path / "run")
    np.testing.assert_allclose(loaded.predict(paths), wanted, rtol=0, atol=1e-5)
    for answer, row in zip(predict.predict(run, paths, 1), wanted, strict=True):
        for guess in answer["top5"]:
            assert guess["probability"] == pytest.approx(row[guess["label"]], abs=1e-5)


def test_what_torchvision_reads_otherwise(torchvision, tmp_path):
    """It drops what is transparent, which lies on white here, and cuts deep values off, scaled here."""
    clear = Image.new("RGBA", (256, 256), (10, 20, 30, 0))
    clear.save(tmp_path / "clear.png")
    Image.fromarray(np.full((256, 256), 12_000, np.uint16)).save(tmp_path / "deep.png")
    found = squares([tmp_path / "clear.png", tmp_path / "deep.png"])
    assert (found[0] == 255).all()
    assert (by_torchvision(torchvision, tmp_path / "clear.png") == (10, 20, 30)).all()
    assert (found[1] == round(12_000 / 257)).all()


def squashed(pixels: np.ndarray, side: int) -> np.ndarray:
    """Bilinear at the centres of pixels, without antialiasing, in 64 bits: (side, side, C)."""
    halves = []
    for length in pixels.shape[:2]:
        at = np.clip((np.arange(side) + 0.5) * length / side - 0.5, 0, length - 1)
        matrix = np.maximum(1 - np.abs(at[:, None] - np.arange(length)), 0)
        halves.append(matrix)
    return np.einsum("yh,hwc,xw->yxc", halves[0], pixels.astype(np.float64), halves[1], optimize=True)


def test_caffes_documented_form(photographs, tmp_path):
    """Squashed to 256 x 256, blue first, minus the mean file at the crop's place, through a whole net."""
    torch = pytest.importorskip("torch")
    bgr = np.random.default_rng(5).uniform(90, 130, (3, 256, 256)).astype(np.float32)
    np.save(tmp_path / "mean.npy", bgr)
    net = makers.caffe(classes=5)
    net["conv1"][0] /= 40  # its input is some 40 grey levels large
    (tmp_path / "a.caffemodel").write_bytes(makers.caffemodel(net))
    run, printed = converted(tmp_path / "a.caffemodel", tmp_path / "run", mean=tmp_path / "mean.npy")
    assert "images: squashed to 256 x 256 (opencv_bilinear)" in printed
    paths = photographs[:3]
    [batch] = image_files.decode_batches(paths, run.config.data, 3)
    views = []
    for path, pixels in zip(paths, batch.images, strict=True):
        square = squashed(np.asarray(Image.open(path).convert("RGB")), 256)
        assert np.abs(square - pixels).max() < 1  # OpenCV's arithmetic cuts off
        views.append((pixels[..., ::-1].transpose(2, 0, 1) - bgr)[:, 14:241, 14:241])
    logits = caffe_logits(net, torch.from_numpy(np.stack(views)).double(), pool_first=False)
    wanted = torch.softmax(torch.from_numpy(logits), 1).numpy()
    loaded = alexnet_jax.load(tmp_path / "run")
    found = loaded.features(paths, ["fc8"])["fc8"]
    assert np.abs(found - logits).max() <= 1e-4 * np.abs(logits).max()
    np.testing.assert_allclose(loaded.predict(paths), wanted, rtol=0, atol=1e-5)
