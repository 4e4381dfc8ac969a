"""Which of a net's classes each class of a dataset is: matched by name, never by position."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation.imagenet_names import identity, plain, readable
from alexnet_jax.files import read_bounded
from alexnet_jax.progress import printable

MAX_MAP_BYTES = 8 * 2**20  # of a --class_map; ImageNet's 21,841 classes need half of one
MAX_NAMES_SHOWN, MAX_NAME_SHOWN = 5, 40
WAY_OUT = "--class_map=FILE says which is which, a line each: the dataset's name, a tab, the net's name"


@dataclass(frozen=True)
class ClassMatch:
    """Say which of a net's classes each class of a dataset is.

    Attributes:
      names: of the net's classes, by label.
      labels: the net's label of each of the dataset's labels.
      pairs: {the dataset's name: the net's}; {} where all stand in the same order under the same names.
      short: in a few words that the dataset's classes are not the net's; '' where `pairs` is {}.
      notice: the same in a line for the user.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    pairs: Mapping[str, str]
    short: str = ""
    notice: str = ""


def output_names(class_names: Sequence[str], classes: int) -> tuple[str, ...]:
    """Return a name for each output of a net; 'class <label>' for one that no class has."""
    return (*class_names, *(f"class {label}" for label in range(len(class_names), classes)))


def match(
    dataset_names: Sequence[str],
    dataset: str,
    class_names: Sequence[str],
    classes: int,
    net: str,
    class_map: str = "",
) -> ClassMatch:
    """Match the classes of a dataset with those of a net.

    A name that the net does not know stands for the one that differs from it in case and white space alone,
    where there is only one; else, of ImageNet's classes, a synset id for its name, and a name for its id. The
    rows of `class_map` come before the names.

    Args:
      dataset_names: by the dataset's labels.
      dataset: what the messages call the dataset.
      class_names: by the net's labels; its outputs after them are called 'class <label>'.
      classes: how many outputs the net has.
      net: what the messages call the net.
      class_map: a file of two columns, the dataset's name and the net's; '': there is none.

    Raises:
      UsageError: a class that the net does not know or knows twice, two that would be the same one although
        no row says so, or a file that `read_class_map` refuses.
    """
    names = output_names(class_names, classes)
    rows = read_class_map(Path(class_map), dataset_names, names, net) if class_map else {}
    if not rows and tuple(dataset_names) == tuple(class_names):
        return ClassMatch(tuple(class_names), tuple(range(len(class_names))), {})
    known, plain_names = set(names), Counter(map(plain, names))
    by_name = {plain(name): name for name in names if plain_names[plain(name)] == 1}
    by_synset = {identity(name): name for name in names}

    def found_for(name: str) -> str | None:
        return name if name in known else by_name.get(plain(name)) or by_synset.get(identity(name))

    pairs = {name: found for name in dataset_names if (found := rows.get(name) or found_for(name))}
    unknown = [name for name in dataset_names if name not in pairs]
    if unknown:
        raise UsageError(
            f"{dataset} has classes that {net} does not know, {some(unknown)}; it knows {some(names)}: "
            f"{WAY_OUT}"
        )
    _check_single(pairs, rows, names, dataset, net)
    label_of = {name: label for label, name in enumerate(names)}
    labels = tuple(label_of[pairs[name]] for name in dataset_names)
    named = names if max(labels) >= len(class_names) else tuple(class_names)
    short = f"{len(set(labels))} of {len(named)}, matched by {'--class_map' if rows else 'name'}"
    notice = _notice(pairs, rows, (len(set(labels)), len(named)), dataset, net)
    return ClassMatch(named, labels, pairs, short, notice)


def _check_single(
    pairs: Mapping[str, str], rows: Mapping[str, str], names: Sequence[str], dataset: str, net: str
) -> None:
    """Check that a name stands for one class of the net, and, without a row, no other name for that class."""
    counts = Counter(names)
    owners: dict[str, str] = {}
    for name, found in pairs.items():
        if counts[found] > 1:
            raise UsageError(
                f"{net} has {counts[found]} classes called {_short(found)}, and {dataset} has "
                f"{_short(name)}: which one is meant, no name says"
            )
        if name in rows:
            continue
        if found in owners:
            raise UsageError(
                f"{dataset} has {_short(owners[found])} and {_short(name)}, and {net} only {_short(found)}: "
                f"{WAY_OUT}"
            )
        owners[found] = name


def _notice(
    pairs: Mapping[str, str], rows: Mapping[str, str], count: tuple[int, int], dataset: str, net: str
) -> str:
    """Return the line that says how classes were matched, `count` of them of how many the net has."""
    which = f"all {count[1]:,}" if count[0] == count[1] else f"{count[0]:,} of the {count[1]:,}"
    kinds = {
        "by name": [_short(name) for name, found in pairs.items() if name == found and name not in rows],
        "whatever case and white space": [
            f"{_short(name)} is {_short(found)}"
            for name, found in pairs.items()
            if name != found and name not in rows and plain(name) == plain(found)
        ],
        "by ImageNet's table": [
            f"{_short(name)} is {_short(found)}"
            for name, found in pairs.items()
            if name not in rows and plain(name) != plain(found)
        ],
        "by --class_map": [f"{_short(name)} is {_short(found)}" for name, found in rows.items()],
        "several names for one class": [
            _short(found) for found, number in Counter(pairs.values()).items() if number > 1
        ],
    }
    words = "; ".join(f"{kind} {some(names)}" for kind, names in kinds.items() if names)
    return f"{dataset} has {which} classes of {net}, matched {words}"


def read_class_map(
    path: Path, dataset_names: Sequence[str], net_names: Sequence[str], net: str
) -> dict[str, str]:
    """Read a text file with a dataset's name and the net's name on each line: {the former: the latter}.

    They are separated by a tab; in a line without a tab by a comma, as CSV has it; in one without either by
    white space. Empty lines are passed over.

    Args:
      path: the file.
      dataset_names: which names may stand in the first column.
      net_names: which in the second.
      net: what the messages call the net.

    Raises:
      UsageError: it cannot be read, or a line, whose number is named, has not two columns, or a name that the
        dataset or the net has not, or that stood in the first column before.
    """
    try:
        text = read_bounded(path, MAX_MAP_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"--class_map={path} cannot be read: {printable(str(error))}") from None
    present, known = set(dataset_names), set(net_names)
    rows: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where, columns = f"--class_map={path}, line {number}", _columns(line)
        if len(columns) != 2 or not all(columns):
            raise UsageError(
                f"{where}: {_short(line)} is not two columns, the dataset's name and the net's; names with "
                "spaces need a tab between them"
            )
        ours, theirs = columns
        if ours in rows:
            raise UsageError(f"{where}: {_short(ours)} stood in a line before")
        if ours not in present:
            raise UsageError(
                f"{where}: the dataset has no class {_short(ours)}; it has {some(dataset_names)}"
            )
        if theirs not in known:
            raise UsageError(f"{where}: {net} has no class {_short(theirs)}; it has {some(net_names)}")
        rows[ours] = theirs
    if not rows:
        raise UsageError(f"--class_map={path} holds no line")
    return rows


def _columns(line: str) -> list[str]:
    if "\t" in line:
        found = line.rstrip("\t").split("\t")
    elif "," in line:
        try:
            found = next(csv.reader([line], skipinitialspace=True))
        except csv.Error:  # a field without an end
            return []
    else:
        found = line.split()
    return [column.strip() for column in found]


def find(name: str, class_names: Sequence[str]) -> int:
    """Return the label of the class that a user calls `name`: its name or synset id, or a part of one name.

    Raises:
      UsageError: it is none, or could be several.
    """
    names = tuple(map(readable, class_names))
    for known in (class_names, names):
        if name in known:
            return known.index(name)
    for known in (class_names, names):
        could_be = [label for label, each in enumerate(known) if plain(name) == plain(each)]
        if len(could_be) == 1:
            return could_be[0]
    could_be = [label for label, each in enumerate(names) if plain(name) in plain(each)]
    if len(could_be) == 1:
        return could_be[0]
    shown = [printable(names[label]) for label in (could_be or range(len(names)))[:10]]
    more = ", ..." if len(could_be or names) > 10 else ""
    word = "could be" if could_be else "is no class of this net; there are"
    raise UsageError(f"--label={printable(name)} {word} {', '.join(shown)}{more}")


def columns_in_order(names: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Return which of the outputs called `names` stands for each of `wanted`, the same in another order.

    Raises:
      UsageError: a name stands twice.
    """
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise UsageError(
            f"several classes have one name, {some(twice)}: which is which, their order must say"
        )
    position = {name: column for column, name in enumerate(names)}
    return tuple(position[name] for name in wanted)


def some(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = ", ".join(_short(name) for name in names[:MAX_NAMES_SHOWN])
    more = len(names) - MAX_NAMES_SHOWN
    return (f"{shown} and {more:,} more" if more > 0 else shown) or "none"


def _short(name: str) -> str:
    text = printable(name)
    return text if len(text) <= MAX_NAME_SHOWN else f"{text[: MAX_NAME_SHOWN - 3]}..."
