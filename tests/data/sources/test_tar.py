"""Tars against what Python's tarfile wrote."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax.data.sources import tar
from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.data.sources.sieve import Sieve
from alexnet_jax.errors import UsageError
from tests.data import made_up
from tests.faults.structures import archives


def test_long_and_strange_names(tmp_path: Path) -> None:
    files = {f"train/{'long' * 40}/{'name' * 30}.jpg": b"a", "train/schön/ü 1.jpg": b"b"}
    (tmp_path / "a.tar").write_bytes(made_up.tar_bytes(files))
    assert made_up.all_images(tmp_path / "a.tar") == made_up.located(files)


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format(tmp_path: Path, tar_format: int) -> None:
    """Long names stand in a field, in an extension, or in another, and sizes in octal or not."""
    names = [f"train/{'d' * 60}/{'f' * 90}.jpg", "train/bee/1.jpg"]
    names += [] if tar_format == tarfile.USTAR_FORMAT else [f"train/{'long' * 60}/ü{'name' * 50}.jpg"]
    with tarfile.open(tmp_path / "a.tar", "w", format=tar_format) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = 3, 1.5 if tar_format == tarfile.PAX_FORMAT else 1  # type: ignore[assignment]
            archive.addfile(member, io.BytesIO(b"abc"))
    assert made_up.all_images(tmp_path / "a.tar") == made_up.located(dict.fromkeys(names, b"abc"))


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "folder"])
def test_a_tar_for_each_class(tmp_path: Path, kind: str) -> None:
    """ImageNet-22K as it is handed out, and what unpacking the outer tar alone leaves."""
    train, _ = made_up.imagenet(3, 4)
    tars: dict[str, made_up.Files] = {}
    for name, data in train.items():
        tars.setdefault(name.split("/")[0], {})[name.split("/")[1]] = data
    packed = {f"whole/{synset}.tar": made_up.tar_bytes(files) for synset, files in tars.items()}
    if kind == "folder":
        path = made_up.write_folder(tmp_path, packed)
    else:
        path = tmp_path / f"fall11_whole.{kind}"
        path.write_bytes(made_up.tar_bytes(packed, "w:gz" if kind == "tar.gz" else "w"))
    assert made_up.all_images(path) == {
        ("train", name.split("/")[0], name): data for name, data in train.items()
    }


@pytest.mark.parametrize("packed", [True, False])
def test_a_corrupt_header_is_not_the_end(tmp_path: Path, packed: bool) -> None:
    """tarfile takes it for the end of the archive and says nothing."""
    files = made_up.class_folders(6, 2)
    whole = bytearray(made_up.tar_bytes(files))
    with tarfile.open(fileobj=io.BytesIO(bytes(whole))) as archive:
        middle = archive.getmembers()[len(files) // 2].offset
    whole[middle + 120 : middle + 140] = os.urandom(20)
    path = tmp_path / ("a.tar.gz" if packed else "a.tar")
    path.write_bytes(gzip.compress(bytes(whole)) if packed else bytes(whole))
    with pytest.raises(UsageError, match="damaged at byte"):
        list(open_source(str(path)).images())


def test_links_are_passed_over(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            member = tarfile.TarInfo(f"train/ant/{kind.decode()}.jpg")
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
        member = tarfile.TarInfo("train/ant/1.jpg")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    assert made_up.all_images(tmp_path / "a.tar") == {("train", "ant", "ant/1.jpg"): b"x"}


def test_absurd_claims_are_refused(tmp_path: Path) -> None:
    """A member, and a header's extension, that claim more than any image has."""
    member = tarfile.TarInfo("train/ant/1.jpg")
    member.size = 2**40
    (tmp_path / "a.tar").write_bytes(member.tobuf() + b"x" * 10_000)
    with pytest.raises(UsageError, match="claims 1,099,511,627,776 bytes"):
        open_source(str(tmp_path / "a.tar"))
    extension = tarfile.TarInfo("././@LongLink")
    extension.type, extension.size = tarfile.GNUTYPE_LONGNAME, 2**33
    (tmp_path / "b.tar").write_bytes(extension.tobuf(tarfile.GNU_FORMAT) + b"x" * 10_000)
    with pytest.raises(UsageError, match="claims a name of 8,589,934,592 bytes"):
        open_source(str(tmp_path / "b.tar"))


def test_sparse_files_are_refused(tmp_path: Path) -> None:
    """Their bytes do not stand in the archive as they are; each of GNU's two ways is recognised."""
    old = tarfile.TarInfo("train/ant/1.jpg")
    old.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "old.tar").write_bytes(old.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    new = tarfile.TarInfo("train/ant/1.jpg")
    new.pax_headers = {"GNU.sparse.major": "1"}
    (tmp_path / "new.tar").write_bytes(new.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    for name in ("old.tar", "new.tar"):
        with pytest.raises(UsageError, match="holds a sparse file"):
            open_source(str(tmp_path / name))


@pytest.mark.parametrize("suffix", list(tar.COMPRESSED))
def test_how_much_was_read_grows_to_all(tmp_path: Path, suffix: str) -> None:
    """From it `prepare` estimates how many images an archive holds."""
    noise = np.random.default_rng(0).bytes(200_000)
    files = {f"{index}.jpg": noise[2000 * index : 2000 * (index + 1)] for index in range(100)}
    mode = {".tar.xz": "w:xz", ".tar.bz2": "w:bz2"}.get(suffix, "w:gz")
    (tmp_path / f"a{suffix}").write_bytes(made_up.tar_bytes(files, mode))
    streamed = list(tar.stream_tar(tmp_path / f"a{suffix}", Sieve()))
    assert {name: data for name, data, _ in streamed} == files
    fractions = [fraction for _, _, fraction in streamed]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] <= fractions[-1] <= 1
    assert fractions[-1] > 0.9


@pytest.mark.parametrize(
    "name",
    [
        "train/../x.jpg",
        "../../outside/bee/2.jpg",
        "/train/bee/2.jpg",
        "train\\bee\\2.jpg",
        "n" * 1001 + ".jpg",
    ],
)
@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz", "a.zip", "tars.tar"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    """Never a class '..', and nothing is written."""
    files = {"train/ant/1.jpg": b"x", name: b"x"}
    if kind == "a.zip":
        name = name.replace("train\\bee", "..\\bee")  # there they stand for slashes
        files = {"train/ant/1.jpg": b"x", name: b"x"}
    if kind == "tars.tar":
        files = {"train/ant.tar": made_up.tar_bytes({"1.jpg": b"x", name: b"x"})}
    packed = (
        made_up.zip_bytes(files)
        if kind == "a.zip"
        else made_up.tar_bytes(files, "w:gz" if "gz" in kind else "w")
    )
    (tmp_path / kind).write_bytes(packed)
    with pytest.raises(UsageError, match=r"is not a path below|a member whose name has 1,0") as error:
        list(open_source(str(tmp_path / kind)).images())
    assert kind in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [kind]


@pytest.mark.parametrize("name", ["./train/ant/1.jpg", "train//ant/1.jpg", "train/./ant/1.jpg"])
def test_names_that_say_the_same_in_other_words(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tar").write_bytes(made_up.tar_bytes({name: b"x"}))
    assert made_up.all_images(tmp_path / "a.tar") == {("train", "ant", "ant/1.jpg"): b"x"}


def test_a_compressed_tar_inflates_within_bounds(tmp_path: Path) -> None:
    """Neither what is passed over nor what is read goes on for ever; drawings that compress well are read."""
    files = {f"train/ant/{n}.bmp": made_up.image_file(1, "BMP") + bytes(10**6) for n in range(20)}
    (tmp_path / "a.tar.gz").write_bytes(made_up.tar_bytes(files, "w:gz"))
    assert len(made_up.all_images(tmp_path / "a.tar.gz")) == 20
    for name in [name for name in archives.ATTACKS if "zeros" in name and "a .tar" in name]:
        path = tmp_path / name.split()[1].replace(".tar", "b.tar", 1)
        path.write_bytes(archives.ATTACKS[name][1]())
        with pytest.raises(UsageError, match="it inflates to more than"):
            list(open_source(str(path)).images())


@pytest.mark.parametrize("name", [name for name in archives.ATTACKS if name.startswith("a tar whose")])
def test_headers_that_say_too_much(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tar").write_bytes(archives.ATTACKS[name][1]())
    with pytest.raises(UsageError, match="cannot be read as a tar archive"):
        open_source(str(tmp_path / "a.tar"))
    records = archives.record(b"path", b"train/bee/2.jpg") * 70
    (tmp_path / "a.tar").write_bytes(archives.extension(records) + archives.header("x") + bytes(1024))
    with pytest.raises(UsageError, match="says more than 64 things"):
        open_source(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz", "tars.tar"])
def test_an_image_without_a_name_is_refused(tmp_path: Path, kind: str) -> None:
    nameless = {"1.jpg": made_up.image_file(1), "./": made_up.image_file(2)}
    files = nameless if kind != "tars.tar" else {"train/ant.tar": made_up.tar_bytes(nameless)}
    packed = bytearray(made_up.tar_bytes(files, "w:gz" if "gz" in kind else "w"))
    (tmp_path / kind).write_bytes(packed)
    with pytest.raises(UsageError, match=r"is not a path below it|lies in no class folder"):
        list(open_source(str(tmp_path / kind)).images())
