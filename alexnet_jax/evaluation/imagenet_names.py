"""ImageNet's 1,000 classes: a class's identity is its synset id, and people read its name.

The names are torchvision's published category list (torchvision/models/_meta.py, BSD 3-Clause, copyright
Soumith Chintala 2016), all distinct, in the order of the labels, which is that of the sorted ids.
"""

import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_suffix(".tsv")


@cache
def table() -> dict[str, str]:
    """Return {synset id: name}, such as {'n01582220': 'magpie'}, by label."""
    return dict(line.split("\t") for line in _FILE.read_text().splitlines())


@cache
def _synsets() -> tuple[dict[str, str], dict[str, str]]:
    """Return {name: synset id}, and the same of names without their case, as far as they are distinct."""
    names = Counter(map(plain, table().values()))  # 'Cardigan' is a dog, 'cardigan' is not
    loose = {plain(name): synset for synset, name in table().items() if names[plain(name)] == 1}
    return {name: synset for synset, name in table().items()}, loose


def readable(name: str) -> str:
    """Return the name of a class that is called by its synset id; any other as it is."""
    return table().get(name, name)


def identity(name: str) -> str:
    """Return the synset id of a class that is called by its name, in whatever case; any other as it is."""
    exact, loose = _synsets()
    return exact.get(name) or loose.get(plain(name), name)


def plain(name: str) -> str:
    """Return a name without what is easily written otherwise: case, white space, the form of accents."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())
