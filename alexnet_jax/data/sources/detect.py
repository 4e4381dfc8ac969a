"""Which form a source has."""

import hashlib
from pathlib import Path

from alexnet_jax.data.sources import class_folders, idx, imagenet, tfds
from alexnet_jax.data.sources.digits import open_digits
from alexnet_jax.data.sources.entries import Source
from alexnet_jax.data.sources.tar import COMPRESSED, list_tar, stream_tar
from alexnet_jax.data.sources.zip import list_zip, read_zipped
from alexnet_jax.errors import UsageError

SUPPORTED_SOURCES = (
    "a folder of class folders, an archive of one (.tar, .tar.gz, .tar.xz, .zip), a folder with ImageNet's "
    "tars, a dataset that TFDS prepared, a folder with IDX files, or the word digits"
)


def open_source(name: str) -> Source:
    """Recognise a source and index it; `kind` and `notes` of what is returned say how it was understood.

    Args:
      name: a path, or 'digits'.

    Raises:
      UsageError: nothing there, nothing that is known, or something that contradicts itself.
    """
    if not name:
        raise UsageError(f"--source is missing: {SUPPORTED_SOURCES}")
    if name == "digits":
        return open_digits()
    path = Path(name)
    if not path.exists():
        raise UsageError(f"--source={name} does not exist")
    try:
        source = _detect(path)
    except OSError as error:
        raise UsageError(f"--source={name} cannot be read: {error}") from None
    if source.entries is not None:
        if not source.entries:
            raise UsageError(f"--source={name} holds no images; it may be {SUPPORTED_SOURCES}")
        try:
            _ = source.entries.order
        except UsageError as error:
            raise UsageError(f"{error} of {name}") from None
    return source


def _detect(path: Path) -> Source:
    """Return what `path` holds, trying the most particular form first."""
    found = imagenet.open_tars(path)
    if found is not None:
        return found
    if path.is_dir():
        found = tfds.open_folder(path) or idx.open_folder(path)
        return found or class_folders.index(
            "a folder of class folders", path, class_folders.list_folder(path)
        )
    ending = path.name.lower()
    if ending.endswith(".zip"):
        return class_folders.index("a zip archive of class folders", path, list_zip(path), read_zipped)
    if ending.endswith(".tar"):
        return class_folders.index("a tar archive of class folders", path, list_tar(path))
    if ending.endswith(tuple(COMPRESSED)):
        return _open_compressed(path)
    raise UsageError(f"--source={path} is not a folder nor one of {', '.join(['.tar', '.zip', *COMPRESSED])}")


def _open_compressed(path: Path) -> Source:
    with path.open("rb") as file:
        stamp = f"{path.stat().st_size} {hashlib.sha256(file.read(2**20)).hexdigest()}"
    kind = "a compressed tar archive of class folders, read in order"
    return Source(kind, None, stream=lambda: class_folders.stream(path, stream_tar(path)), stamp=stamp)
