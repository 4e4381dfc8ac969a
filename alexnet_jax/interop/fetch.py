"""Fetch a published file: resumed where it broke off, and checked against its hash before it is used."""

import fcntl
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError

from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.files import synchronise_folder
from alexnet_jax.progress import Progress

_PART = 2**20  # bytes that are read at once
_TIMEOUT = 30.0  # seconds without a byte
_PAUSE = 1.0  # seconds before another attempt
_ATTEMPTS_IN_VAIN = 3  # in a row that bring nothing new


@dataclass(frozen=True)
class Published:
    """Describe a file that its authors publish.

    Attributes:
      address: https://...
      sha256: the first digits of its SHA-256, as its name has them.
      most: bytes that it cannot exceed.
    """

    address: str
    sha256: str
    most: int

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.address.rpartition("/")[2]


def fetch(file: Published, folder: Path) -> Path:
    """Return a published file in `folder`, fetched unless it is there.

    What came before a connection broke is kept, and the rest is asked for, in this call and in later ones.

    Args:
      file: which.
      folder: it exists; nobody else may write there.

    Raises:
      RunFailure: it cannot be reached, or what came is not that file; the message says what to copy where.
      UsageError: another process fetches it, or the disk does not take it.
    """
    path = folder / file.name
    partial = folder / f"{file.name}.partial"
    if path.exists():
        if _has_hash(path, file):
            return path
        raise UsageError(
            f"{path} is not the published {file.name}, whose SHA-256 begins with {file.sha256}: remove it"
        )
    try:
        with _locked(partial) as content:
            _complete(file, content, path)
            os.fsync(content.fileno())
            os.replace(partial, path)
        synchronise_folder(folder)
    except OSError as error:
        raise UsageError(f"{partial} cannot be written: {error.strerror or error}") from error
    return path


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    with path.open("a+b") as content:
        try:
            fcntl.flock(content, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is fetching {path}: wait for it") from None
        try:
            yield content
        finally:
            if path.exists() and not path.stat().st_size:  # nothing to resume
                path.unlink()


def _complete(file: Published, content: IO[bytes], path: Path) -> None:
    """Read what is missing of the file, in as many attempts as bring something new."""
    in_vain = 0
    while in_vain <= _ATTEMPTS_IN_VAIN:
        before = content.seek(0, os.SEEK_END)
        try:
            whole, trouble = _attempt(file, content)
        except urllib.error.URLError as error:  # HTTPError is one
            trouble = (
                f"the server answers {error.code}" if isinstance(error, HTTPError) else str(error.reason)
            )
            break
        size = content.seek(0, os.SEEK_END)
        # A server may be wrong about the length: what counts is the hash.
        if size and (whole or size == before) and _is_published(content, file):
            return
        if whole:
            content.truncate(0)
            raise RunFailure(
                f"{file.address} gave {size:,} bytes that are not the published file, whose SHA-256 begins "
                f"with {file.sha256}; they were removed. {_way_out(file, path)}"
            )
        in_vain = 0 if size > before else in_vain + 1
        time.sleep(_PAUSE)
    size = content.seek(0, os.SEEK_END)
    kept = f" ({size:,} bytes are kept)" if size else ""
    raise RunFailure(f"{file.address} cannot be fetched{kept}: {trouble}. {_way_out(file, path)}")


def _way_out(file: Published, path: Path) -> str:
    return f"Type the command again where there is a network, or copy {file.name} to {path}"


def _attempt(file: Published, content: IO[bytes]) -> tuple[bool, str]:
    """Append what one request gives; return whether the server says that it is all, and what went wrong.

    Raises:
      URLError: there is no answer, or none that another attempt would make better.
    """
    have = content.tell()
    request = urllib.request.Request(file.address, headers={"User-Agent": "alexnet_jax"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with _opener().open(request, timeout=_TIMEOUT) as response:
            start, total = _extent(response, have)
            if start != have:
                content.truncate(start)
            return _copy(response, content, start, total, file)
    except HTTPError as error:
        if have and error.code == 416:  # nothing is left of what the server has
            return True, ""
        raise
    except (TimeoutError, ConnectionError, http.client.HTTPException, ValueError) as error:
        return False, str(error) or type(error).__name__


def _extent(response: Any, have: int) -> tuple[int, int | None]:
    """Return where an answer begins in the file, and how long the file is, None where nothing says it."""
    length = response.headers.get("Content-Length", "")
    length = int(length) if length.isdecimal() and len(length) < 16 else None
    start = 0
    if response.status == 206:
        first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        if first != str(have):
            raise ValueError("the server sends another part than it was asked for")
        start = have
    return start, None if length is None else start + length


def _copy(
    response: Any, content: IO[bytes], start: int, total: int | None, file: Published
) -> tuple[bool, str]:
    size = start
    mebibytes = None if total is None else total >> 20
    with Progress(f"fetch {file.name}", mebibytes, "MiB", initial=start >> 20) as progress:
        while part := response.read(_PART):
            size += len(part)
            if size > file.most:
                content.truncate(0)
                raise RunFailure(f"{file.address} gives more than {file.most:,} bytes: it is another file")
            content.write(part)
            content.flush()
            progress.update((size >> 20) - progress.done)
    # `read` of a part does not say that the connection broke.
    short = total is not None and size < total
    return not short, f"the connection broke off at {size:,} of {total:,} bytes" if short else ""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but from an encrypted address to no other."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("https", urllib.parse.urlsplit(req.full_url).scheme):
            raise urllib.error.URLError(f"it leads to an address of {scheme or 'no scheme'}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http and https, through the proxy of the environment, and nothing else."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _is_published(content: IO[bytes], file: Published) -> bool:
    content.seek(0)
    return hashlib.file_digest(content, "sha256").hexdigest().startswith(file.sha256)  # type: ignore[arg-type]


def _has_hash(path: Path, file: Published) -> bool:
    with path.open("rb") as content:
        return _is_published(content, file)
