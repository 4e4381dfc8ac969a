"""The chunks of a compressed tar; that the outcome is the folder's is shown by test_prepare.py."""

import pytest

from alexnet_jax.data import spool
from alexnet_jax.data.sources.entries import Entry


@pytest.mark.parametrize("count", [0, 1, spool.CHUNK_IMAGES, spool.CHUNK_IMAGES + 1, 3 * spool.CHUNK_IMAGES])
def test_chunks_hold_every_image_once_in_order(count):
    entries = [Entry("", "", str(number), "f", number, 10) for number in range(count)]
    chunks = list(spool.chunks((entry, number / count) for number, entry in enumerate(entries)))
    assert [entry for chunk, _ in chunks for entry in chunk] == entries
    assert all(len(chunk) <= spool.CHUNK_IMAGES for chunk, _ in chunks)
    assert len(chunks) == -(-count // spool.CHUNK_IMAGES)


def test_large_images_fill_a_chunk():
    large = [Entry("", "", str(number), "f", 0, spool.CHUNK_BYTES // 2 + 1) for number in range(5)]
    assert [len(chunk) for chunk, _ in spool.chunks((entry, 0.0) for entry in large)] == [2, 2, 1]
