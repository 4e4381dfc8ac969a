"""Hostile files for every reader: an answer or one line, in little time and memory, and nothing else.

`tests.faults.hostile` holds the readers, the mutations and the guard, and runs in a process of its own;
`tests.faults.structures` the files that follow a grammar.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faults import hostile
from tests.faults.injections import ROOT, count, record
from tests.faults.structures import ATTACKS, STRUCTURES

pytestmark = pytest.mark.slow
GROUPS = ("image", "archive", "IDX", "development kit", "weights", "mean", "records", "checkpoint", "")


def group_of(name: str) -> str:
    return next(group for group in GROUPS if (group and name.startswith(group)) or not group)


def attack(kind: str, names: list[str], files: int, folder: Path) -> list[dict[str, Any]]:
    """What came of each reader; a process that a file ended is one more wrong, and the rest goes on."""
    found: list[dict[str, Any]] = []
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    while len(found) < len(names):
        left = names[len(found) :]
        own = folder / str(len(found))
        own.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.hostile", kind, str(own), str(files), *left],
            cwd=ROOT,
            env=environment | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            timeout=60 + 2 * files * len(left),
        )
        found += [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode:
            at = sorted(own.rglob("current"), key=lambda path: path.stat().st_mtime)
            where = at[-1].read_text() if at else left[0]
            ended = f"{where}: the process ended with {done.returncode}: {done.stderr[-300:]}"
            found.append({"reader": names[len(found)], "files": files, "wrong": [[-1, ended]]})
    return found


def check(kind: str, names: list[str], files: int, folder: Path) -> list[dict[str, Any]]:
    """What came of each reader, none wrong."""
    halves = [names[::2], names[1::2]]  # two processes side by side; each measures its own
    for half in range(2):
        (folder / str(half)).mkdir()
    with ThreadPoolExecutor(2) as threads:
        each = threads.map(lambda half: attack(kind, halves[half], files, folder / str(half)), range(2))
        found = sorted((told for part in each for told in part), key=lambda told: names.index(told["reader"]))
    wrong = [(told["reader"], told["wrong"][:3]) for told in found if told["wrong"]]
    assert not wrong, wrong
    assert [told["reader"] for told in found] == names
    for told in found:
        assert told["read"] + told["refused"] == files
    return found


def record_groups(kind: str, found: list[dict[str, Any]], files: int, promise: str) -> None:
    """One row of docs/RELIABILITY.md for each group of readers."""
    for group in GROUPS:
        of = [told for told in found if group_of(told["reader"]) == group]
        if not of:
            continue
        names = ", ".join(told["reader"].removeprefix(group).strip(", ") or "plain" for told in of)
        record(
            f"{len(of)} x {files:,} {kind} files: {group or 'other'} ({names})",
            sum(told["files"] for told in of),
            promise,
            f"{sum(told['read'] for told in of):,} read, {sum(told['refused'] for told in of):,} refused in "
            f"one line, 0 else; slowest {max(told['slowest_seconds'] for told in of):.2f} s, at most "
            f"{max(told['mebibytes_more'] for told in of)} MiB more",
        )


def test_mutated_files(tmp_path: Path) -> None:
    files = count(80, 2000)
    found = check("mutated", list(hostile.READERS), files, tmp_path)
    record_groups(
        "mutated",
        found,
        files,
        "an answer or one line; 20 s and 1 GiB at most; nothing executed, unpickled, connected to or "
        "written elsewhere",
    )


def test_structured_files(tmp_path: Path) -> None:
    """Files that follow the grammar of their format, and are nested, shared, huge or repeated somewhere."""
    files = count(150, 5000)
    found = check("structured", sorted(STRUCTURES), files, tmp_path)
    for told in found:  # the generators reach what lies behind the first check
        assert told["read"] >= files // 20, told
        if told["reader"] != "metrics.jsonl":  # read as far as its lines are whole, for a run may be killed
            assert told["refused"] >= files // 50, told  # and are wrong often enough
    record_groups(
        "structured",
        found,
        files,
        "an answer or one line; 5 s and 1 GiB at most; nothing executed, unpickled, connected to or "
        "written elsewhere",
    )


def test_attacks(tmp_path: Path) -> None:
    """Each small file that once took memory or time without bound: at most 20 s and 1 GiB more."""
    found = check("attacks", list(ATTACKS), 1, tmp_path)
    record(
        f"{len(found)} small files that an earlier version hung on, gave all memory or wrongly accepted",
        len(found),
        "an answer or one line; 20 s and 1 GiB at most",
        f"as promised; slowest {max(told['slowest_seconds'] for told in found):.2f} s, at most "
        f"{max(told['mebibytes_more'] for told in found)} MiB more",
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("evil", "pickle.find_class"),
        ("writes", "writes"),
        ("starts", "subprocess.Popen"),
        ("raises", "KeyError"),
    ],
)
def test_the_guard_sees(name: str, words: str, tmp_path: Path) -> None:
    """A reader that does what none may is told."""
    script = f"""
import io, json, pickle, subprocess, sys
from pathlib import Path
from tests.faults import hostile

def evil(path): pickle.loads(pickle.dumps(Path))
def writes(path): (Path({str(tmp_path)!r}) / "outside").write_text("x")
def starts(path): subprocess.run(["true"])
def raises(path): return {{}} ["x"] if hostile._guarded else None

read = {name}
hostile.READERS["x"] = hostile.Reader(lambda folder: (folder / "f").write_bytes(b"abc") and None, "f", read)
sys.addaudithook(hostile._audit)
print(json.dumps(hostile.attack("mutated", "x", Path({str(tmp_path)!r}) / "in", 3)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["wrong"]) == 3
    assert words in told["wrong"][0][1]
