"""Classes by name: in any order, some of them, written otherwise, by a file; nothing by its position."""

import unicodedata
from pathlib import Path

import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import classes

NET = ("ant", "bee", "Cat Flap", "dog")


def match(names, net=NET, outputs=0, class_map=""):
    return classes.match(names, "photos", net, outputs or len(net), "the net in runs/x", str(class_map))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_net_s_own_classes_need_no_word():
    found = match(NET)
    assert (found.names, found.labels, found.pairs) == (NET, (0, 1, 2, 3), {})
    assert (found.short, found.notice) == ("", "")
    assert match(NET, outputs=9) == found  # outputs that no class has change nothing


@pytest.mark.parametrize(
    ("names", "labels", "words"),
    [
        (("dog", "bee", "ant", "Cat Flap"), (3, 1, 0, 2), "all 4 classes"),
        (("bee", "dog"), (1, 3), "2 of the 4 classes"),
        (("ant", "bee"), (0, 1), "2 of the 4 classes"),  # the first ones: still not the net's own data
        (("dog",), (3,), "1 of the 4 classes"),
    ],
)
def test_another_order_or_some_of_them(names, labels, words):
    found = match(names)
    assert (found.names, found.labels) == (NET, labels)
    assert dict(found.pairs) == {name: name for name in names}
    assert found.notice == f"photos has {words} of the net in runs/x, matched by name {', '.join(names)}"
    assert found.short == f"{len(names)} of 4, matched by name"


def test_what_the_net_does_not_know_is_refused_with_what_each_has():
    with pytest.raises(UsageError) as error:
        match(("ant", "bee", "cow", *(f"n{i:04}" for i in range(999))), net=[f"c{i}" for i in range(2000)])
    assert str(error.value) == (
        "photos has classes that the net in runs/x does not know, ant, bee, cow, n0000, n0001 and 997 more; "
        "it knows c0, c1, c2, c3, c4 and 1,995 more: --class_map=FILE says which is which, a line each: the "
        "dataset's name, a tab, the net's name"
    )
    with pytest.raises(UsageError) as error:
        match(("x" * 5000, "a\x1b[2J"))
    assert len(str(error.value)) < 400
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("names", [("0", "1", "2", "3"), ("1", "2", "3", "4"), ("00", "01", "02", "03")])
def test_numbers_are_no_positions(names):
    with pytest.raises(UsageError, match=r"does not know, 0?[01], "):
        match(names)


def test_numbers_are_names():
    assert match(("10", "9", "1"), net=("1", "10", "2", "9")).labels == (1, 3, 0)
    with pytest.raises(UsageError, match="does not know, 01;"):
        match(("01", "2"), net=("1", "2"))


@pytest.mark.parametrize(
    ("name", "label"),
    [("ANT", 0), (" bee", 1), ("cat  flap", 2), ("cat\u00a0flap", 2), ("Cat Flap ", 2), ("Dog", 3)],
)
def test_case_and_white_space_alone_are_said(name, label):
    found = match((name, "ant") if label else (name, "bee"))
    assert found.labels[0] == label
    assert f"matched by name {('ant' if label else 'bee')}; whatever case and white space " in found.notice
    assert found.notice.endswith(f" is {NET[label]}")


def test_an_accent_is_one_letter_or_two():
    """macOS writes the latter into the names of folders."""
    two = unicodedata.normalize("NFD", "café")
    assert two != "café"
    assert match((two, "bar"), net=("bar", "café")).labels == (1, 0)


def test_names_that_differ_by_case_alone_stay_apart():
    """As the letters of EMNIST."""
    net = ("A", "B", "a", "b")
    assert match(("a", "b"), net=net).labels == (2, 3)
    assert match(("b", "A", "B", "a"), net=net).labels == (3, 0, 1, 2)
    with pytest.raises(UsageError, match="does not know,  a;"):  # either could be meant
        match((" a", "b"), net=net)


def test_two_names_for_one_class_are_not_guessed(tmp_path):
    with pytest.raises(UsageError, match=r"^photos has ant and Ant, and the net in runs/x only ant: --class"):
        match(("ant", "Ant", "bee"))
    found = match(("ant", "Ant", "bee"), class_map=write(tmp_path / "map", "Ant ant\n"))
    assert found.labels == (0, 0, 1)
    assert found.notice.endswith("; by --class_map Ant is ant; several names for one class ant")


MAPS = {
    "tabs": "tabby\tCat Flap\ntiger, cat\tCat Flap\nhound\tdog\n",
    "commas": 'tabby,Cat Flap\n"tiger, cat",Cat Flap\nhound, dog\n',
    "a byte order mark": "\ufefftabby\tCat Flap\r\n\r\ntiger, cat\tCat Flap\r\nhound dog\r\n",
}


@pytest.mark.parametrize("text", MAPS.values(), ids=MAPS)
def test_a_file_says_which_is_which(text, tmp_path):
    """Many to one, as ImageNet's synonyms; the rest by name."""
    found = match(("ant", "hound", "tabby", "tiger, cat"), class_map=write(tmp_path / "map.txt", text))
    assert found.labels == (0, 3, 2, 2)
    assert dict(found.pairs) == {
        "ant": "ant",
        "hound": "dog",
        "tabby": "Cat Flap",
        "tiger, cat": "Cat Flap",
    }
    assert found.notice == (
        "photos has 3 of the 4 classes of the net in runs/x, matched by name ant; by --class_map tabby is "
        "Cat Flap, tiger, cat is Cat Flap, hound is dog; several names for one class Cat Flap"
    )
    assert found.short == "3 of 4, matched by --class_map"


def test_a_file_comes_before_the_names(tmp_path):
    swapped = write(tmp_path / "map", "ant bee\nbee ant\n")
    assert match(NET, class_map=swapped).labels == (1, 0, 2, 3)


def test_numbered_folders_by_a_file(tmp_path):
    """ImageNetV2's folders: '10' sorts before '2'."""
    synsets = [f"n{number:08}" for number in range(1000)]
    names = sorted(map(str, range(1000)))
    rows = "".join(f"{number} {synset}\n" for number, synset in enumerate(synsets))
    found = match(names, net=synsets, class_map=write(tmp_path / "map", rows))
    assert found.labels == tuple(map(int, names))


BAD_ROWS = {
    "one column": (
        "ant",
        "line 1: ant is not two columns, the dataset's name and the net's; names with",
    ),
    "three": ("hound dog\nant bee cat", "line 2: ant bee cat is not two columns"),
    "nothing to the right": ("hound,", "line 1: hound, is not two columns"),
    "twice": ("hound dog\n\nhound ant", "line 3: hound stood in a line before"),
    "not the dataset's": ("hound dog\nfox dog", "line 2: the dataset has no class fox; it has ant, hound$"),
    "not the net's": (
        "hound fox",
        "line 1: the net in runs/x has no class fox; it has ant, bee, Cat Flap, d",
    ),
    "a quote without an end": (f'hound dog\nfox,"{"x" * 200_000}', 'line 2: fox,"xxx.* is not two columns'),
    "a head": ("name,class\nhound,dog", "line 1: the dataset has no class name;"),
    "empty": ("\n \n", "holds no line"),
}


@pytest.mark.parametrize(("text", "words"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_wrong_row_is_named_by_its_line(text, words, tmp_path):
    path = write(tmp_path / "map", text)
    with pytest.raises(UsageError, match=f"^--class_map={path}.*{words}") as error:
        match(("ant", "hound"), class_map=path)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "endless").write_bytes(b"a" * (classes.MAX_MAP_BYTES + 1))
    for name in ("none", "binary", "endless", "."):
        with pytest.raises(UsageError, match=f"^--class_map={tmp_path / name} cannot be read: "):
            match(("hound",), class_map=tmp_path / name)


def test_outputs_without_a_name(tmp_path):
    """Converted weights without names: nothing matches but through a file."""
    net = classes.output_names((), 3)
    assert net == ("class 0", "class 1", "class 2")
    with pytest.raises(UsageError, match="does not know, cat, dog; it knows class 0, class 1, class 2: "):
        match(("cat", "dog"), net=(), outputs=3)
    found = match(
        ("cat", "dog"), net=(), outputs=3, class_map=write(tmp_path / "map", "cat,class 2\ndog,class 0\n")
    )
    assert (found.labels, found.names) == ((2, 0), net)


def test_a_net_with_two_classes_of_one_name(tmp_path):
    """As 'crane' and 'maillot' in lists of ImageNet's names."""
    net = ("crane", "dog", "crane")
    assert match(net, net=net).labels == (0, 1, 2)
    assert match(("dog",), net=net).labels == (1,)
    with pytest.raises(UsageError, match=r"^the net in runs/x has 2 classes called crane, and photos "):
        match(("crane", "dog"), net=net)
    with pytest.raises(UsageError, match=r"^several classes have one name, crane"):
        classes.columns_in_order(net, ("crane", "crane", "dog"))


def test_columns_in_order():
    assert classes.columns_in_order(("c", "a", "b"), ("a", "b", "c")) == (1, 2, 0)


def test_many_classes_are_matched_at_once():
    """21,841 of them, in the time of a test."""
    names = [f"n{number:08}" for number in range(21_841)]
    assert match(names[::-1], net=names).labels == tuple(reversed(range(21_841)))
