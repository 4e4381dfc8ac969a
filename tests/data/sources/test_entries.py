"""The index of entries."""

import hashlib
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax.data.sources.entries import Entries, Entry, Source, Unreadable, read_range
from alexnet_jax.errors import UsageError


def index(*given: Entry) -> Entries:
    entries = Entries()
    for entry in given:
        entries.append(entry)
    return entries


ENTRIES = [
    Entry("train", "ant", "ant/1.jpg", "/a.tar", 512, 7),
    Entry("test", "bee", "bee/\udce9.jpg", "/b.zip", 2**40, 9, checksum=2**32 - 1),
    Entry("train", "bee", "bee/2.jpg", "", 0, 3, held=b"abc"),
    Entry("train", "bee", "bee/3.jpg", "", 0, 2, held=b"de"),
    Entry("train", "ant", "ant/4.jpg", "/folder", -1, 5),
]


def test_what_was_appended_is_there() -> None:
    entries = index(*ENTRIES)
    assert [entry._replace(start=0) for entry in entries] == [entry._replace(start=0) for entry in ENTRIES]
    assert [entry.start for entry in entries if entry.container] == [512, 2**40, -1]
    assert len(entries) == 5


def test_classes_of_a_split() -> None:
    entries = index(*ENTRIES)
    assert entries.classes("train") == {"ant": 2, "bee": 2}
    assert entries.classes("test") == {"bee": 1}
    assert entries.classes("validation") == {}
    assert Entries().classes("train") == {}


def test_a_key_that_stands_twice() -> None:
    assert set(index(*ENTRIES, ENTRIES[0]._replace(split="test")).order) == {"train", "test"}
    with pytest.raises(UsageError, match=r"ant/1\.jpg stands twice in train"):
        _ = index(*ENTRIES, ENTRIES[0]._replace(label="bee")).order


def test_the_identity_is_of_what_is_there_and_not_of_where() -> None:
    identity = index(*ENTRIES).identity()
    assert index(ENTRIES[0]._replace(container="/other.tar", start=0), *ENTRIES[1:]).identity() == identity
    for change in ({"split": "test"}, {"label": "bee"}, {"key": "ant/9.jpg"}, {"size": 8}):
        assert index(ENTRIES[0]._replace(**change), *ENTRIES[1:]).identity() != identity
    assert index(*ENTRIES[:2], ENTRIES[2]._replace(held=b"abd"), *ENTRIES[3:]).identity() != identity


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"0123456789")
    (tmp_path / "1.jpg").write_bytes(b"abc")
    archived = Entry("train", "ant", "ant/1.jpg", str(tmp_path / "a.tar"), 2, 3)
    alone = Entry("train", "ant", "ant/deeper/1.jpg", str(tmp_path), -1, 3)
    held = Entry("train", "ant", "ant/2.jpg", "", 0, 2, held=b"de")
    entries = index(archived, alone, held)
    assert [data for _, data in Source("a test", entries).images()] == [b"234", b"abc", b"de"]
    with pytest.raises(Unreadable, match="2 bytes where there were 3"):
        read_range(archived._replace(start=8))


def test_images_of_a_stream() -> None:
    """They are located when all are known."""
    held = Entry("", "", "top/ant/2.jpg", "", 0, 2, held=b"de")
    known = []

    def arrange(listed: Iterable[Entry], left_out: Counter[tuple[str, str]]) -> Source:
        known.extend(listed)
        return Source("a test", None, locate=lambda path: ("train", "ant", path.removeprefix("top/")))

    source = Source("a test", None, stream=lambda: iter([(held, 0.5)]), arrange=arrange)
    located = held._replace(split="train", label="ant", key="ant/2.jpg")
    assert list(source.images()) == [(located, b"de")]
    assert known == [held._replace(held=b"")]


def test_the_index_is_small() -> None:
    """Of many entries: what costs a Python object each does not fit ImageNet-22K into memory."""
    tracemalloc.start()
    entries = Entries()
    for number in range(20_000):
        synset = f"n{number // 500:08d}"
        entries.append(Entry("train", synset, f"{synset}_{number}.JPEG", "/a.tar", number * 10**6, 10**5))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 100 * len(entries)
    assert entries[19_999] == Entry(
        "train", "n00000039", "n00000039_19999.JPEG", "/a.tar", 19_999 * 10**6, 10**5
    )


@pytest.mark.parametrize("sizes", [(500, 500), (30, 7, 200), (1, 1, 40)])
def test_every_slice_has_the_same_share_of_each_class(sizes: tuple[int, ...]) -> None:
    """And the images of a class stand in the order of the SHA-256 of their keys."""
    given = [Entry("train", f"c{c}", f"c{c}/{i}", "/a", 0, 1) for c, n in enumerate(sizes) for i in range(n)]
    given = [given[i] for i in np.random.default_rng(0).permutation(len(given))]
    entries = index(*given)
    ordered = [entries[int(position)] for position in entries.order["train"]]
    for label, size in enumerate(sizes):
        keys = [entry.key for entry in ordered if entry.label == f"c{label}"]
        assert keys == sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
        for share in (0.1, 0.5, 0.9):
            first = ordered[: round(share * len(ordered))]
            assert abs(sum(e.label == f"c{label}" for e in first) - share * size) <= 1
