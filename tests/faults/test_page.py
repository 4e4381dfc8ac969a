"""docs/RELIABILITY.md is what its rows say."""

from tests.faults import page


def test_the_page_is_made_of_the_rows() -> None:
    """Written by hand, or of other rows, it would be another text."""
    assert page.PAGE.read_text(encoding="utf-8") == page.text()


def test_the_last_resort_is_counted_by_what_hangs() -> None:
    end = {"code": 143, "line": "alexnet_jax: SIGTERM: ended", "when": "2026-01-02T03:04:05", "commit": "a1"}
    found = [
        {"part": part, "seconds": s, **end} for part, s in (("x", 30.0), ("y", 9.0), ("x", 40.0), ("x", 31.0))
    ]
    found[-1]["code"] = 1
    text = page.last_resort(found)
    assert "| x | 3 | 31.0 | 40.0 | 2 x 143: SIGTERM: ended; 1 x 1: SIGTERM: ended |" in text
    assert "| y | 1 | 9.0 | 9.0 |" in text


def test_the_pieces_of_the_soak_are_added() -> None:
    piece = {
        "when": "2026-01-02T03:04:05+00:00",
        "commit": "a1",
        "cores": 2,
        "hours": 1.5,
        "rounds": 2,
        "restarts": 9,
        "checks": 20,
        "faults": {"kill": 3, "disk": 1},
        "failed": [],
        "samples": [[0.0, 100.0, 7, 30, 0.5], [0.1, 90.0, 8, 29, 0.4]],
    }
    text = page.soak([piece, {**piece, "failed": ["last line: x | y"], "cause": "z, mended"}])
    assert (
        "3.00 hours of pieces in all: 4 runs to their end, 18 starts, 8 faults, 40 checks, 1 failed." in text
    )
    assert "| 1.50 | 2 | 9 | disk 1, kill 3 | 20 | none | 100.0 | 8 | 30 | 0.5 |" in text
    assert "| 20 | last line: x / y; z, mended | 100.0 |" in text
