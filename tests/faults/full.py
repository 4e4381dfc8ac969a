"""All faults in full counts; writes docs/RELIABILITY.md from what the tests recorded.

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

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "RELIABILITY.md"
HEAD = """# Reliability

What happens under faults that were put into real processes and real files. Every row was written by the test
that its last column names; `python -m tests.faults.full` runs them all and writes this page. CI runs the same
tests with fewer injections.

{when}: {versions}, {machine}; {minutes:.0f} minutes. {outcome}

| fault | injections | promise | what happened | repeat with `ALEXNET_FAULTS=full python -m pytest` |
|---|---|---|---|---|
"""


def page(rows: list[dict[str, str]], outcome: str, minutes: float) -> str:
    """Format the rows as the page's Markdown."""
    names = ("jax", "orbax-checkpoint", "grain", "array-record", "numpy", "pillow")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    text = HEAD.format(
        when=datetime.date.today().isoformat(),
        versions=f"Python {platform.python_version()}, {versions}",
        machine=f"{os.cpu_count()} cores",
        minutes=minutes,
        outcome=outcome,
    )
    for row in rows:
        cells = (row["fault"], f"{int(row['injections']):,}", row["promise"], row["happened"], row["test"])
        text += "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |\n"
    return text


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
    PAGE.write_text(page(rows, outcome, minutes), encoding="utf-8")
    print(f"wrote {PAGE}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
