"""Images whose labels stand in a table next to them: a .csv or .tsv of file and label."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from alexnet_jax.data.file_kinds import ending_of
from alexnet_jax.data.sources.entries import Entries, Entry, Source
from alexnet_jax.data.sources.folder import Walk
from alexnet_jax.data.sources.sieve import Sieve
from alexnet_jax.data.sources.split_names import exact_split
from alexnet_jax.errors import UsageError
from alexnet_jax.files import read_bounded
from alexnet_jax.progress import printable

ENDINGS = (".csv", ".tsv")
_MAX_BYTES = 2**28  # of a table; of ImageNet's 14 million images it would have as many
_LABELS = ("label", "labels", "class", "class_name", "classname", "category", "target", "species", "breed")
_SPLITS = ("split", "set", "subset", "partition")
_LOOKED_AT = 1000  # rows by which the column of files is found


def open_table(path: Path) -> Source | None:
    """Index images by a table of file and label.

    Args:
      path: the table, or a folder with one in which the images lie flat.

    Returns:
      The source; None when it is neither.

    Raises:
      UsageError: the table cannot be read, or which columns it has is doubtful.
    """
    if not path.is_dir():
        return _index(path, path.parent) if path.name.lower().endswith(ENDINGS) else None
    tables = [found for found in sorted(path.iterdir()) if found.name.lower().endswith(ENDINGS)]
    tables = [found for found in tables if found.is_file() and not found.name.startswith(".")]
    if not tables or len({entry.container for entry in Walk(path, Sieve(), tars=False)}) != 1:
        return None
    if len(tables) > 1:
        names = ", ".join(printable(found.name) for found in tables)
        raise UsageError(f"{path} has several tables, {names}: name the one with the labels as --source")
    return _index(tables[0], path)


@dataclass
class _Columns:
    """Which columns of a table hold what; `split` is -1 where none does."""

    file: int
    label: int
    split: int
    has_header: bool


def _index(table: Path, folder: Path) -> Source:
    sieve = Sieve()
    walk = Walk(folder, sieve, tars=False)
    images = _Images(list(walk))
    rows = _read(table)
    columns = _find_columns(table, rows, images)
    left_out, entries, labels = sieve.left_out, Entries(), dict[str, str]()
    left_out.subtract({key: n for key, n in left_out.items() if key[0] in ENDINGS})
    for row in rows[columns.has_header :]:
        cells = dict(enumerate(cell.strip() for cell in row))
        label, entry = cells.get(columns.label, ""), images.find(cells.get(columns.file, ""))
        if entry is None or not label:
            why = "the table has no label for it" if entry else "the table names it and it is not there"
            left_out[ending_of(cells.get(columns.file, "")), why] += 1
        elif labels.setdefault(entry.key, label) != label:
            raise UsageError(
                f"{table} gives {printable(entry.key)} two labels, {printable(labels[entry.key])} and "
                f"{printable(label)}"
            )
        elif not images.is_used(entry.key):
            split = _split_of(table, cells.get(columns.split, ""), entry.key)
            entries.append(entry._replace(split=split, label=label, key=f"{label}/{entry.key}"))
    for key in images.unused():
        left_out[ending_of(key), f"{printable(table.name)} does not name it"] += 1
    header = rows[0] if columns.has_header else [f"column {n + 1}" for n in range(len(rows[0]))]
    remark = (
        f"labels by {printable(table.name)}: files in {printable(header[columns.file])!r}, classes in "
        f"{printable(header[columns.label])!r}"
    )
    if columns.split >= 0:
        remark += f", splits in {printable(header[columns.split])!r}"
    kind = "a folder of images with their labels in a table"
    return Source(kind, entries, remarks=(*walk.remarks, remark), left_out=+left_out)


class _Images:
    """Images of a folder, found by path, by name, or by name without its ending."""

    def __init__(self, entries: list[Entry]):
        self._entries = {entry.key: entry for entry in entries}
        self._used: set[str] = set()
        found: dict[str, set[str]] = {}
        for key in self._entries:
            name = key.rpartition("/")[2]
            for alias in {name, name.rpartition(".")[0], key.rpartition(".")[0]} - {""}:
                found.setdefault(alias, set()).add(key)
        self._aliases = {alias: keys.pop() for alias, keys in found.items() if len(keys) == 1}

    def find(self, name: str) -> Entry | None:
        """Return the image that a table names; None where there is none, or several."""
        name = name.replace("\\", "/").removeprefix("./")
        key = name if name in self._entries else self._aliases.get(name) or ""
        if not key:
            key = self._aliases.get(name.rpartition("/")[2], "")
        return self._entries.get(key)

    def is_used(self, key: str) -> bool:
        """Return whether an image was asked for before."""
        if key in self._used:
            return True
        self._used.add(key)
        return False

    def unused(self) -> list[str]:
        """Return the paths of images that were not asked for."""
        return [key for key in self._entries if key not in self._used]


def _read(table: Path) -> list[list[str]]:
    """Return the rows of a table that are not empty; tabs, semicolons or commas stand between the cells."""
    try:
        text = read_bounded(table, _MAX_BYTES).decode("utf-8-sig", "replace")
        first = text.partition("\n")[0]
        delimiter = max("\t;,", key=first.count)
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{table} cannot be read as a table: {error}") from None
    if not rows:
        raise UsageError(f"{table} is empty")
    return rows


def _find_columns(table: Path, rows: list[list[str]], images: _Images) -> _Columns:
    """Find the columns by what they hold and what they are called."""
    hits: Counter[int] = Counter()
    looked_at = rows[: _LOOKED_AT + 1]
    for row in looked_at:
        hits.update(number for number, cell in enumerate(row) if images.find(cell.strip()))
    if not hits:
        raise UsageError(
            f"no column of {table} names images below {table.parent}: it holds "
            f"{', '.join(map(repr, map(printable, rows[0][:5])))} in its first row"
        )
    file = hits.most_common(1)[0][0]
    has_header = file >= len(rows[0]) or images.find(rows[0][file].strip()) is None
    names = [cell.strip().lower() for cell in rows[0]] if has_header else [""] * len(rows[0])
    split = next((number for number, name in enumerate(names) if name in _SPLITS and number != file), -1)
    others = [number for number in range(len(names)) if number not in (file, split)]
    named = [number for number in others if names[number] in _LABELS]
    labels = named or others
    if len(labels) != 1:
        shown = ", ".join(printable(cell) for cell in rows[0][:10])
        raise UsageError(f"which column of {table} holds the class is doubtful ({shown}): call it label")
    return _Columns(file, labels[0], split, has_header)


def _split_of(table: Path, cell: str, path: str) -> str:
    """Return the split that a table says, or the folder of the image, or train."""
    if cell and not exact_split(cell):
        raise UsageError(f"{table} names the split {printable(cell)}: there are train, val and test")
    return exact_split(cell) or exact_split(path.partition("/")[0] if "/" in path else "") or "train"
