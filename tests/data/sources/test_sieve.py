"""What is read, what is passed over, and what is counted."""

from collections import Counter

import pytest

from alexnet_jax import extras
from alexnet_jax.data.sources.sieve import Sieve, as_lines, is_hidden
from tests.data import made_up

HEIC = b"\0\0\0\x18ftypheic" + bytes(200)


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("a/b.jpg", False),
        ("./a/b.JPEG", False),
        ("../b.webp", False),
        ("a/.b.jpg", True),
        (".a/b.jpg", True),
        ("a/._b.jpg", True),
        ("__MACOSX/a/b.jpg", True),
        ("a/@eaDir/b.jpg/SYNO_THUMB.jpg", True),
        ("a/.ipynb_checkpoints/b-checkpoint.jpg", True),
        ("a/Thumbs.db", True),
        ("a/Thumbs.db.jpg", False),
    ],
)
def test_what_is_hidden(path: str, hidden: bool) -> None:
    assert is_hidden(path) == hidden
    sieve = Sieve()
    sieve.skip(path, "a reason")
    assert bool(sieve.left_out) != hidden


def unread() -> bytes:
    raise AssertionError("nobody looks into a file whose ending says what it is")


def test_endings_and_first_bytes() -> None:
    sieve, image = Sieve(), made_up.image_file(1)
    assert sieve.take("a/1.jfif", unread)
    assert sieve.take("a/2.AVIF", unread)
    assert sieve.take("a/3", lambda: image)
    assert sieve.take("a/4.dat", lambda: image)
    assert not sieve.take("a/._5.jpg", unread)
    assert not sieve.left_out
    for _ in range(3):
        assert not sieve.take("a/notes.TXT", lambda: b"notes")
    assert not sieve.take("a/README", lambda: b"")
    assert sieve.left_out == {(".txt", "no image"): 3, ("", "empty file"): 1}
    assert as_lines(sieve.left_out) == [
        "left out: 3 .txt (no image)",
        "left out: 1 without an ending (empty file)",
    ]


@pytest.mark.parametrize("name", ["a.HEIC", "a.heif", "a", "a.dat"])
def test_heic_is_read_where_its_decoder_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for missing in ([], ["pillow_heif"]):
        monkeypatch.setattr(extras, "missing", lambda extra, gone=missing: gone)
        sieve = Sieve()
        assert sieve.take(name, lambda: HEIC) == (not missing)
        if missing:
            ((_, reason),) = sieve.left_out
            assert reason.startswith("a HEIC image, which needs pillow_heif: pip install ")


def test_many_kinds_are_shortened() -> None:
    lines = as_lines(Counter({(f".e{n}", "no image"): 1 for n in range(50)}))
    assert len(lines) == 21
    assert lines[-1] == "left out: 30 more kinds of files"
