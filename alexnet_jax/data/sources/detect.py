"""Which form a source has."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from alexnet_jax import files
from alexnet_jax.data.sources import class_folders, idx, imagenet, tfds
from alexnet_jax.data.sources.digits import open_digits
from alexnet_jax.data.sources.entries import Entry, Source
from alexnet_jax.data.sources.folder import Walk
from alexnet_jax.data.sources.sieve import Sieve, as_lines
from alexnet_jax.data.sources.table import open_table
from alexnet_jax.data.sources.tar import COMPRESSED, list_tar, stream_tar
from alexnet_jax.data.sources.zip import list_zip, read_zipped
from alexnet_jax.errors import UsageError

SUPPORTED_SOURCES = (
    "a folder of class folders, an archive of one (.tar, .tar.gz, .tar.xz, .zip), a folder with ImageNet's "
    "tars, a table of files and labels (.csv, .tsv), a dataset that TFDS prepared, a folder with IDX files, "
    "or the word digits"
)


_MOST_REASONS = 3  # of a source without images, for which files were left out


def open_source(name: str, class_level: int = 0) -> Source:
    """Recognise a source and index it; what is returned says how it was understood.

    Args:
      name: a path, or 'digits'.
      class_level: which folder below the source or a split names the class, from 1; 0: the first, where
        that is not doubtful.

    Raises:
      UsageError: nothing there, nothing that is known, or something that contradicts itself.
    """
    if not name:
        raise UsageError(f"--source is missing: {SUPPORTED_SOURCES}")
    if name == "digits":
        digits, beside = open_digits(), "a folder digits is here too: --source=./digits reads it"
        return replace(digits, remarks=(beside,)) if Path(name).exists() else digits
    files.check_local(name, "--source=")
    path = Path(name)
    if not path.exists():
        raise UsageError(f"--source={name} does not exist")
    try:
        source = _detect(path, class_level)
    except OSError as error:
        raise UsageError(f"--source={name} cannot be read: {error}") from None
    if source.entries is not None:
        if not source.entries:
            there = "; ".join(as_lines(source.left_out)[:_MOST_REASONS])
            there = f" that can be used ({there})" if there else ""
            raise UsageError(f"--source={name} holds no images{there}; it may be {SUPPORTED_SOURCES}")
        try:
            _ = source.entries.order
        except UsageError as error:
            raise UsageError(f"{error} of {name}") from None
    return source


def _detect(path: Path, class_level: int) -> Source:
    """Return what `path` holds, trying the most particular form first."""
    found = imagenet.open_tars(path)
    if found is not None:
        return found
    sieve = Sieve()
    if path.is_dir():
        found = tfds.open_folder(path) or idx.open_files(path) or open_table(path)
        return found or _open_folder(path, class_level)
    found = idx.open_files(path) or open_table(path)
    if found is not None:
        return found
    ending = path.name.lower()
    if ending.endswith(".zip"):
        kind, listed = "a zip archive of class folders", list_zip(path, sieve)
        return class_folders.index(kind, path, listed, sieve, read_zipped, class_level)
    if ending.endswith(".tar"):
        kind, listed = "a tar archive of class folders", list_tar(path, "", sieve)
        return class_folders.index(kind, path, listed, sieve, class_level=class_level)
    if ending.endswith(tuple(COMPRESSED)):
        return _open_compressed(path, class_level)
    raise UsageError(f"--source={path} is not a folder nor one of {', '.join(['.tar', '.zip', *COMPRESSED])}")


def _open_folder(path: Path, class_level: int) -> Source:
    sieve = Sieve()
    walk = Walk(path, sieve)
    found = class_folders.index("a folder of class folders", path, walk, sieve, class_level=class_level)
    return replace(found, remarks=(*walk.remarks, *found.remarks))


def _open_compressed(path: Path, class_level: int) -> Source:
    with path.open("rb") as file:
        stamp = f"{path.stat().st_size} {hashlib.sha256(file.read(2**20)).hexdigest()} {class_level}"
    kind, sieve = "a compressed tar archive of class folders, read in order", Sieve()

    def stream() -> Iterator[tuple[Entry, float]]:
        sieve.left_out.clear()
        return class_folders.stream(path, stream_tar(path, sieve), sieve.left_out)

    def arrange(listed: Iterable[Entry], left_out: Counter[tuple[str, str]]) -> Source:
        return class_folders.arrange(source, path, class_level, listed, left_out)

    source = Source(kind, None, stream=stream, stamp=stamp, left_out=sieve.left_out, arrange=arrange)
    return source
