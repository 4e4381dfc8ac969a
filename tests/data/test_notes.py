"""What is noted of images."""

import json

from alexnet_jax.data.notes import Notes


def test_notes_count_and_keep_the_first():
    notes, other = Notes(), Notes()
    notes.add("a.png", ["dark"])
    notes.add("b.png", ["dark", "stored turned"])
    notes.add("c.png", [])
    other.add("d\n.png", ["grey"])
    other.add("e.png", ["dark"])
    notes.merge(json.loads(json.dumps(other)))
    assert notes.lines() == [
        "note: 3 images are dark (the first: a.png)",
        "note: 1 image is grey (the first: d\\n.png)",
        "note: 1 image is stored turned (the first: b.png)",
    ]
