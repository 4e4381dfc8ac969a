"""Zip archives against what Python's zipfile wrote."""

import struct
import zipfile
from pathlib import Path

import pytest

from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.data.sources.entries import Unreadable
from alexnet_jax.errors import UsageError
from tests.data import made_up
from tests.faults.structures import archives


def test_zip_by_its_own_fields(tmp_path: Path) -> None:
    """Stored and deflated, sizes after the data, and 64-bit fields."""
    path = tmp_path / "a.zip"
    data = {f"ant/{kind}.jpg": bytes([kind]) * 5000 for kind in range(3)}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ant/0.jpg", data["ant/0.jpg"], zipfile.ZIP_STORED)
        archive.writestr("ant/1.jpg", data["ant/1.jpg"], zipfile.ZIP_DEFLATED)
        with archive.open(zipfile.ZipInfo("ant/2.jpg"), "w", force_zip64=True) as file:
            file.write(data["ant/2.jpg"])
        archive.comment = b"a comment"
    assert made_up.all_images(path) == {("train", "ant", name): value for name, value in data.items()}
    spoilt = bytearray(path.read_bytes())
    spoilt[spoilt.index(b"\0" * 5000) + 2000] = 1
    path.write_bytes(spoilt)
    source = open_source(str(path))
    assert source.entries is not None
    with pytest.raises(Unreadable, match="damaged"):
        source.read(source.entries[0])


def test_encrypted_zip(tmp_path: Path) -> None:
    data = bytearray(made_up.zip_bytes({"ant/1.jpg": b"x", "bee/1.jpg": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UsageError, match="is encrypted"):
        open_source(str(tmp_path / "a.zip"))


def test_links_are_passed_over(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("ant/link.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bee/1.jpg", b"x")
    assert set(made_up.all_images(tmp_path / "a.zip").values()) == {b"x"}


def test_methods_other_than_deflate(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("ant/1.jpg", b"x" * 1000)
    with pytest.raises(UsageError, match="is not stored nor deflated: unpack"):
        open_source(str(tmp_path / "a.zip"))


def large(header: int, claimed: int = 24) -> bytes:
    """An archive whose directory says in 64 bits where the header of its one member is."""
    name = b"ant/1.jpg"
    extra = struct.pack("<HHQQQ", 1, claimed, 1, 1, header)
    sizes = (0xFFFFFFFF, 0xFFFFFFFF, len(name), len(extra), 0)
    directory = b"PK\1\2" + struct.pack("<4xHHHHLLLHHHHHLL", 0, 0, 0, 0, 0, *sizes, 0, 0, 0, 0xFFFFFFFF)
    directory += name + extra
    member = b"PK\3\4" + struct.pack("<HHHHHLLLHH", 45, 0, 0, 0, 0, 0, 1, 1, len(name), 0) + name + b"x"
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(directory), len(member), 0)
    return member + directory + end


def test_sizes_and_offsets_of_64_bits(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(large(0))
    entries = open_source(str(tmp_path / "a.zip")).entries
    assert entries is not None
    assert (entries[0].start, entries[0].size) == (0, 1)


@pytest.mark.parametrize("header", [10_000, 2**63, 2**64 - 1])
def test_an_offset_outside_the_archive(tmp_path: Path, header: int) -> None:
    (tmp_path / "a.zip").write_bytes(large(header))
    with pytest.raises(UsageError, match="its directory is damaged"):
        open_source(str(tmp_path / "a.zip"))


def test_an_extra_field_that_is_cut_off(tmp_path: Path) -> None:
    """It claims more bytes than there are; what is there is read."""
    (tmp_path / "a.zip").write_bytes(large(0, claimed=200))
    entries = open_source(str(tmp_path / "a.zip")).entries
    assert entries is not None
    assert (entries[0].start, entries[0].size) == (0, 1)


@pytest.mark.parametrize("position", [10_000, 2**64 - 1])
def test_a_large_directory_that_is_not_there(tmp_path: Path, position: int) -> None:
    locator = b"PK\6\7" + struct.pack("<LQL", 0, position, 1)
    whole = made_up.zip_bytes({"ant/1.jpg": b"x"})
    end = whole.rindex(b"PK\5\6")
    (tmp_path / "a.zip").write_bytes(whole[:end] + locator + whole[end:])
    with pytest.raises(UsageError, match="its directory is damaged"):
        open_source(str(tmp_path / "a.zip"))


def test_members_that_lie_in_the_same_place(tmp_path: Path) -> None:
    members = [(f"train/ant/{n}.jpg", bytes(range(256)) * 8, {"start": 0}) for n in range(3)]
    (tmp_path / "a.zip").write_bytes(archives.zip_file(members))
    assert (
        len(made_up.all_images(tmp_path / "a.zip")) == 3
    )  # of one size and place, each with bytes of its own
    shared = [
        members[0],
        *((name, b"", {"start": 0, "size": 2048, "packed": 900}) for name, _, _ in members[1:]),
    ]
    (tmp_path / "b.zip").write_bytes(archives.zip_file(shared))
    with pytest.raises(UsageError, match="overlap"):
        open_source(str(tmp_path / "b.zip"))


def test_a_member_is_read_within_its_own_bytes(tmp_path: Path) -> None:
    """One that claims few packed bytes does not go on into the next member's."""
    members = [("train/ant/0.jpg", bytes(range(256)) * 800, {"packed": 20}), ("train/ant/1.jpg", b"x", {})]
    (tmp_path / "a.zip").write_bytes(archives.zip_file(members))
    source = open_source(str(tmp_path / "a.zip"))
    assert source.entries is not None
    with pytest.raises(Unreadable, match="damaged"):
        source.read(source.entries[0])
    assert source.read(source.entries[1]) == b"x"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a zip of one image of 250 MB of zeros", "inflates to 262,144,000 bytes"),
        ("a zip of 200 images in the same place", "overlap"),
        ("a zip with 6 MB of extra fields", "holds no images"),
    ],
)
def test_small_archives_that_took_long(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "a.zip").write_bytes(archives.ATTACKS[name][1]())
    with pytest.raises(UsageError, match=words):
        open_source(str(tmp_path / "a.zip"))
