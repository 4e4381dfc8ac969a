"""Files and folders appear whole or not at all, after an exception and after kill -9."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.files import (
    atomic_directory,
    atomic_write,
    check_utf8,
    remove_partial,
    synchronise,
    synchronise_folder,
    write_text,
)

ROOT = Path(__file__).parents[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Sets the umask, which is put back after the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("given", [str, Path])
def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path, given: type) -> None:
    path = tmp_path / "a.bin"
    with atomic_write(given(path)) as file:
        file.write(b"one")
        file.flush()
        [partial] = names(tmp_path)  # in the same folder: a rename across file systems is a copy
        assert partial.startswith(".a.bin.")
        assert partial.endswith(".partial")
        file.write(b"two")
    assert names(tmp_path) == ["a.bin"]
    assert path.read_bytes() == b"onetwo"


def test_a_file_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_write("a") as file:
        file.write(b"1")
    with atomic_directory("b") as folder:
        (folder / "c").write_bytes(b"2")
    assert names(tmp_path) == ["a", "b"]
    assert names(tmp_path / "b") == ["c"]


def test_what_writes_may_seek_and_read_its_position(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as file:  # as zipfile does
        file.write(b"....tail")
        assert file.tell() == 8
        file.seek(0)
        file.write(b"head")
    assert (tmp_path / "a").read_bytes() == b"headtail"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [None, b"as it was"])
def test_an_exception_leaves_the_target_as_it_was(
    tmp_path: Path, error: type[BaseException], before: bytes | None
) -> None:
    path = tmp_path / "a"
    if before is not None:
        path.write_bytes(before)
        path.chmod(0o640)

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ([] if before is None else ["a"])
    if before is not None:
        assert path.read_bytes() == before
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_cannot_take_its_name_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path / "a") as file:
        file.write(b"whole")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").is_dir()


def test_a_folder_that_is_missing_is_an_error_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none" / "a"):
        pytest.fail("nothing can be written there")
    with pytest.raises(FileNotFoundError), atomic_directory(tmp_path / "none" / "a"):
        pytest.fail("nothing can be written there")
    assert names(tmp_path) == []


def test_of_two_that_write_one_file_the_last_one_stands_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic_write(path) as first:
        first.write(b"first" * 1000)
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first" * 1000
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_permissions_are_those_of_any_new_file(
    tmp_path: Path, umask: Callable[[int], int], mask: int
) -> None:
    umask(mask)
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "plain_folder").mkdir()
    with atomic_write(tmp_path / "file"):
        pass
    with atomic_directory(tmp_path / "folder"):
        pass
    mode = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert mode["file"] == mode["plain"] == 0o666 & ~mask
    assert mode["folder"] == mode["plain_folder"] == 0o777 & ~mask
    assert umask(0o022) == mask  # as it was


def test_the_content_is_on_disk_before_the_name_and_the_name_before_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        size = os.fstat(descriptor).st_size
        calls.append("sync the folder" if is_folder else f"sync {size} bytes")
        sync(descriptor)

    def renamed(old: str | Path, new: str | Path) -> None:
        calls.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", renamed)
    with atomic_write(tmp_path / "a") as file:
        file.write(b"12345")  # still in Python's buffer
    assert calls == ["sync 5 bytes", "rename", "sync the folder"]
    calls.clear()
    with atomic_directory(tmp_path / "b"):
        pass
    assert calls == ["rename", "sync the folder"]
    calls.clear()
    synchronise(tmp_path / "a")
    synchronise_folder(tmp_path)
    assert calls == ["sync 5 bytes", "sync the folder"]


def test_to_synchronise_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    for act in (synchronise, synchronise_folder):
        with pytest.raises(FileNotFoundError):
            act(tmp_path / "none")


def kill_amid(tmp_path: Path, body: str) -> None:
    """Run `body` in a child, which prints a line where it is to be killed and would then wait for long."""
    code = f"import sys, time\nfrom alexnet_jax.files import atomic_directory, atomic_write\n{body}"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    process.stdout.close()


@pytest.mark.parametrize("before", [None, b"as it was"])
def test_a_process_killed_amid_writing_leaves_the_target_as_it_was(
    tmp_path: Path, before: bytes | None
) -> None:
    path = tmp_path / "a.npz"
    if before is not None:
        path.write_bytes(before)
    kill_amid(
        tmp_path,
        """
with atomic_write(sys.argv[1] + "/a.npz") as file:
    file.write(bytes(100_000))
    file.flush()
    print("here", flush=True)
    time.sleep(60)
""",
    )
    assert path.exists() == (before is not None)
    if before is not None:
        assert path.read_bytes() == before
    [left] = [name for name in names(tmp_path) if name != "a.npz"]
    assert (tmp_path / left).stat().st_size == 100_000
    remove_partial(tmp_path)
    assert names(tmp_path) == ([] if before is None else ["a.npz"])


def test_a_process_killed_amid_a_folder_leaves_no_folder_of_that_name(tmp_path: Path) -> None:
    kill_amid(
        tmp_path,
        """
with atomic_directory(sys.argv[1] + "/made") as folder:
    (folder / "half").write_bytes(b"1")
    print("here", flush=True)
    time.sleep(60)
""",
    )
    assert not (tmp_path / "made").exists()
    with atomic_directory(tmp_path / "made") as folder:  # what was left is in nobody's way
        (folder / "whole").write_bytes(b"12")
    assert names(tmp_path / "made") == ["whole"]


def test_remove_partial_takes_what_atomic_write_leaves_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.x1.partial", ".metrics.jsonl.0_k.partial"):
        (tmp_path / name).write_bytes(b"half")
    kept = ["a.partial", ".a.partial.npz", ".hidden", "b"]
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    unfinished = tmp_path / ".1.0.0.partial"  # a dataset that `prepare` resumes
    unfinished.mkdir()
    (unfinished / ".inside.partial").write_bytes(b"")
    remove_partial(tmp_path)
    assert names(tmp_path) == sorted([*kept, unfinished.name])
    assert names(unfinished) == [".inside.partial"]
    remove_partial(tmp_path / "none")  # nothing is there


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "made") as folder:
        assert names(folder) == []
        assert folder.parent == tmp_path
        assert not (tmp_path / "made").exists()
        (folder / "in").mkdir()
        (folder / "in" / "a").write_bytes(b"1")
    assert names(tmp_path) == ["made"]
    assert (tmp_path / "made" / "in" / "a").read_bytes() == b"1"


def test_a_folder_takes_the_place_of_an_empty_one_alone(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with atomic_directory(tmp_path / "made") as folder:
        (folder / "a").write_bytes(b"old")
    assert names(tmp_path / "made") == ["a"]
    with pytest.raises(OSError, match="not empty"), atomic_directory(tmp_path / "made") as folder:
        (folder / "a").write_bytes(b"new")
    assert names(tmp_path) == ["made"]
    assert (tmp_path / "made" / "a").read_bytes() == b"old"
    (tmp_path / "file").write_bytes(b"file")
    with pytest.raises(NotADirectoryError), atomic_directory(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b"file"
    assert names(tmp_path) == ["file", "made"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_removes_a_folder_with_all_that_is_in_it(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def fail() -> None:
        with atomic_directory(tmp_path / "made") as folder:
            (folder / "in").mkdir()
            (folder / "in" / "a").write_bytes(b"1")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []


TEXT = "Wörter 言葉\r\nzweite Zeile\n"
UTF_8 = b"W\xc3\xb6rter \xe8\xa8\x80\xe8\x91\x89\r\nzweite Zeile\n"


def test_text_is_utf_8_byte_for_byte_whatever_the_locale(tmp_path: Path) -> None:
    write_text(tmp_path / "a", TEXT)
    assert (tmp_path / "a").read_bytes() == UTF_8
    code = "import sys; from alexnet_jax.files import write_text; write_text(sys.argv[1], eval(sys.argv[2]))"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "b", ascii(TEXT)], cwd=ROOT, env=environment, check=True
    )
    assert (tmp_path / "b").read_bytes() == UTF_8


def test_text_that_is_no_utf_8_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "as it was")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "a name that is not UTF-8: \udcff")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "as it was"


def test_a_name_that_is_no_utf8_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    check_utf8("/tmp/K\u00e4fer")
    with pytest.raises(UsageError, match=r"/tmp/a\\udcff: this name must be UTF-8: use another"):
        check_utf8(Path("/tmp/a\udcff"))
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    with pytest.raises(UsageError, match=r"must be UTF-8: set PYTHONUTF8=1, or LC_ALL=C\.UTF-8"):
        check_utf8("/tmp/K\udcc3\udca4fer")
