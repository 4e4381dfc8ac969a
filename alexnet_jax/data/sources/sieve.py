"""Which files of a source are read as images, and a count of those that are not: nothing vanishes."""

from collections import Counter
from collections.abc import Callable

from alexnet_jax import extras
from alexnet_jax.data import file_kinds, images
from alexnet_jax.progress import printable

# What operating systems, file servers and notebooks leave among a user's files: copies and thumbnails.
_HIDDEN_FOLDERS, _HIDDEN_FILES = ("__macosx", "@eadir"), ("thumbs.db", "desktop.ini")
_MOST_SHOWN = 20  # lines


def is_hidden(path: str) -> bool:
    """Return whether a file is passed over by everything: hidden itself, or in a folder that is."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    if any(part[0] == "." or part.lower() in _HIDDEN_FOLDERS for part in parts):
        return True
    return bool(parts) and parts[-1].lower() in _HIDDEN_FILES


class Sieve:
    """Takes images, and counts what it does not take.

    Attributes:
      left_out: how many files of an ending, with its dot, were not read for a reason.
    """

    def __init__(self) -> None:
        self.left_out: Counter[tuple[str, str]] = Counter()

    def take(self, path: str, read_head: Callable[[], bytes]) -> bool:
        """Return whether a file is read as an image: by its ending, or, where that says nothing, its bytes.

        Args:
          path: below the source.
          read_head: returns its first `file_kinds.HEAD_BYTES`; called at most once.
        """
        if is_hidden(path):
            return False
        ending = file_kinds.ending_of(path)
        if ending in file_kinds.SUFFIXES:
            return True
        head = read_head()
        reason = file_kinds.why_not_read(head, ending)
        if not reason and file_kinds.kind_of(head) == "HEIC" and extras.missing("heic"):
            reason = images.heic_is_missing()
        if reason:
            self.left_out[ending, reason] += 1
        return not reason

    def skip(self, path: str, reason: str) -> None:
        """Count a file that cannot be read as any."""
        if not is_hidden(path):
            self.left_out[file_kinds.ending_of(path), reason] += 1


def as_lines(left_out: Counter[tuple[str, str]]) -> list[str]:
    """Return what was left out as lines for the user, most first."""
    lines = [
        f"left out: {count:,} {printable(ending) or 'without an ending'} ({printable(reason)})"
        for (ending, reason), count in sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    ]
    more = len(lines) - _MOST_SHOWN
    return lines[:_MOST_SHOWN] + ([f"left out: {more:,} more kinds of files"] if more > 0 else [])
