"""Files that appear whole or not at all, and reading with a bound."""

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from alexnet_jax.errors import UnsafeFile, UsageError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the name `path` only when its whole content is on disk.

    The content goes to a temporary file in the same folder, which is synchronised and renamed at
    the end; when the block raises, the temporary file is removed and `path` is as it was.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    synchronise_folder(path.parent)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder that takes the name `path`, free or an empty folder's, when the block ends.

    When the block raises, the folder is removed with all that is in it.
    """
    path = Path(path)
    temporary = tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        yield Path(temporary)
        os.chmod(temporary, 0o777 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    synchronise_folder(path.parent)


def check_local(path: str, what: str = "") -> None:
    """Raise UsageError for the address of something that is not a file of this machine, as gs://bucket is.

    Args:
      path: that may be one.
      what: the flag or key that holds it, with its =.
    """
    scheme, separator, _ = path.partition("://")
    if separator and scheme.isalnum():
        raise UsageError(
            f"{what}{path} is no path: mount the bucket (gcsfuse, mount-s3, rclone mount) or copy it here "
            "(gcloud storage cp -r, aws s3 cp --recursive), and name that folder"
        )


def check_utf8(path: str | os.PathLike[str]) -> None:
    """Raise UsageError for a name that is no UTF-8, which libraries that are not Python's do not take."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        utf8 = sys.getfilesystemencoding() == "utf-8"
        way = "use another" if utf8 else "set PYTHONUTF8=1, or LC_ALL=C.UTF-8"
        raise UsageError(f"{path}: this name must be UTF-8: {way}") from None


def check_parent(output: Path, flag: str = "output") -> None:
    """Raise UsageError when the folder in which the file of a flag would lie does not exist."""
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--{flag}={output}: the folder {output.parent} does not exist")


def remove_partial(folder: Path) -> None:
    """Remove what a killed process left of `atomic_write` in `folder`; no other may be writing there."""
    for path in folder.glob(".*.partial"):
        if path.is_file():
            path.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 through `atomic_write`."""
    with atomic_write(path) as file:
        file.write(text.encode())


def read_bounded(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    For files that somebody else may have written: nothing is read of a pipe or a device, which never end.

    Raises:
      OSError: it cannot be read. ValueError: it is no regular file, or larger.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path} is not a regular file")
    with open(path, "rb") as file:
        # A reader allocates what it is asked for.
        content = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    if len(content) > most:
        raise ValueError(f"{path} is larger than {most:,} bytes, more than such a file needs")
    return content


def check_files(folder: Path, written: bool) -> None:
    """Check that a folder, which may be somebody else's, holds files and folders alone.

    A pipe would be waited for without end. Through a link, what is written into the folder would replace,
    and what is cleared there would remove, files elsewhere.

    Args:
      folder: such as a workdir; it need not be there.
      written: whether it is going to be written: then it may hold no symbolic links either.

    Raises:
      UnsafeFile: naming the first path that is something else.
    """
    for inside, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(inside, name)
            with contextlib.suppress(FileNotFoundError):  # a run that goes on removes some; a link to nothing
                if written and path.is_symlink():
                    raise UnsafeFile(
                        f"{path} is a symbolic link, and a folder that is written holds files of its own "
                        "alone: put what it leads to in its place"
                    )
                mode = path.stat().st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise UnsafeFile(f"{path} is neither a file nor a folder: remove it")


def synchronise(path: str | os.PathLike[str]) -> None:
    """Make the content of a file survive a power cut."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def synchronise_folder(folder: str | os.PathLike[str]) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
