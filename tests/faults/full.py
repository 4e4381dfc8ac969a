"""All faults in full counts; writes docs/RELIABILITY.md with what the tests recorded.

  ALEXNET_DATA=DIR python -m tests.faults.full [pytest's arguments]

The tests of this folder, which CI runs with fewer injections, run with ALEXNET_FAULTS=full. A test that fails
is a row of the page, too.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

from tests.faults import injections, page

ROOT = Path(__file__).parents[2]


def about(outcome: str, minutes: float) -> str:
    """Return what is said about all rows: when, with what, and what came of it."""
    names = ("jax", "orbax-checkpoint", "grain", "array-record", "numpy", "pillow")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    when, cores = datetime.date.today().isoformat(), os.cpu_count()
    return (
        f"{when}, commit {injections.commit()}: Python {platform.python_version()}, {versions}, "
        f"{cores} cores; {minutes:.0f} minutes. {outcome}"
    )


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        record, report = Path(folder) / "rows", Path(folder) / "report.xml"
        environment = os.environ | {"ALEXNET_FAULTS": "full", "ALEXNET_FAULTS_RECORD": str(record)}
        arguments = sys.argv[1:] or ["tests/faults"]
        begun = datetime.datetime.now()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", f"--junitxml={report}", "-v", *arguments],
            cwd=ROOT,
            env=environment,
        )
        minutes = (datetime.datetime.now() - begun).total_seconds() / 60
        rows = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
        suite = xml.parse(report).getroot().find("testsuite")
        assert suite is not None
        for case in suite.iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
                rows.append(
                    {
                        "fault": "a test failed",
                        "injections": "1",
                        "promise": "none fails",
                        "happened": "FAILED",
                        "test": name,
                    }
                )
        counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
        outcome = f"{counts['tests']} tests, {counts['failures'] + counts['errors']} failed, "
        outcome += f"{counts['skipped']} skipped; {sum(int(row['injections']) for row in rows):,} injections."
    lines = [{"about": about(outcome, minutes)}, *rows]
    written = "".join(json.dumps(line) + "\n" for line in lines)
    (page.FOLDER / "faults.jsonl").write_text(written, encoding="utf-8")
    page.main()
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
