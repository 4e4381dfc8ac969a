"""What the pages allow a browser to do: their own script and style, and nothing else."""

import base64
import contextlib
import hashlib
import select
import socket
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from alexnet_jax.report import page, runs, template
from tests.browser import chromium
from tests.report import made_up
from tests.report.test_explorer import random_run, write_page

INJECTED = """
<style>body { color: rgb(1, 2, 3) }</style>
<script>window.broken = "script"</script>
<script type="module">window.broken = "module"</script>
<script src="data:text/javascript,window.broken='data'"></script>
<script src="http://127.0.0.1:PORT/script.js"></script>
<link rel="stylesheet" href="http://127.0.0.1:PORT/style.css">
<img src="nowhere.png" onerror="window.broken = 'handler'">
<img src="http://127.0.0.1:PORT/image.png">
<iframe src="http://127.0.0.1:PORT/frame"></iframe>
<object data="http://127.0.0.1:PORT/object"></object>
<a id="link" href="javascript:window.broken='link'">link</a>
<form action="http://127.0.0.1:PORT/form"><button id="send">send</button></form>
"""


class Inline(HTMLParser):
    """The policy of a page, and the text of its scripts that run and of its styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.policy, self.sources = "", {"script": list[str](), "style": list[str]()}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("http-equiv") == "Content-Security-Policy":
            assert not any(self.sources.values()), "the policy stands before what it is about"
            self.policy = given["content"] or ""
        runs_as_script = tag == "script" and given.get("type", "module") in ("module", "text/javascript")
        self.inside = tag if runs_as_script or tag == "style" else ""
        if self.inside:
            self.sources[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.sources[self.inside][-1] += data


def write_report(folder: Path) -> Path:
    workdir = made_up.write_run(folder / "run")
    page.write([runs.read(workdir)], made_up.report_data())
    return workdir / "report" / "index.html"


def write_explorer(folder: Path) -> Path:
    write_page(random_run("fully_connected"), folder / "explorer.html")
    return folder / "explorer.html"


PAGES = pytest.mark.parametrize(
    ("write", "scripts", "others"),
    [
        (write_report, 1, {"img-src": "data:", "style-src-attr": "'unsafe-inline'"}),
        (write_explorer, 1, {"img-src": "data: blob:", "worker-src": "blob:"}),
    ],
)


def test_the_digest_is_that_of_the_standard() -> None:
    """The example of Content Security Policy Level 3, section 2.3.1."""
    assert template.source_hash("doSomething();") == "'sha256-RFWPLDbv2BY+rCkDzsE+0fr8ylGr2R2faWMhq4lfEQc='"


@PAGES
def test_a_page_allows_what_it_holds(
    write: Callable[[Path], Path], scripts: int, others: dict[str, str], tmp_path: Path
) -> None:
    inline = Inline(write(tmp_path).read_text())
    directives = dict(part.strip().split(" ", 1) for part in inline.policy.split(";"))
    assert len(inline.sources["script"]) == scripts
    assert len(inline.sources["style"]) == 1
    wanted = {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"} | others
    for kind, texts in inline.sources.items():
        for text in texts:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            wanted[f"{kind}-src"] = f"'sha256-{digest}'"
    assert directives == wanted


@pytest.mark.slow
@PAGES
def test_what_is_put_into_a_page_does_not_run(
    write: Callable[[Path], Path], scripts: int, others: dict[str, str], tmp_path: Path
) -> None:
    path = write(tmp_path)
    text = path.read_text()
    assert text.count("<main>") == 1
    with socket.create_server(("127.0.0.1", 0)) as server, chromium() as browser:
        browser.open(path)
        assert browser.console() == []
        assert browser.requests() == [path.absolute().as_uri()]
        colour = "return getComputedStyle(document.body).color"
        before = browser.run(colour)
        injected = INJECTED.replace("PORT", str(server.getsockname()[1]))
        path.write_text(text.replace("<main>", f"<main>{injected}"))
        browser.open(path)
        browser.run("document.getElementById('link').click(); document.getElementById('send').click()")
        blocked = "\n".join(browser.console())
        assert browser.run("return window.broken === undefined")
        assert browser.run(colour) == before
        directives = ["style-src", "img-src", "form-action", "default-src", *["script-src"] * scripts]
        for directive in directives:
            assert directive in blocked
        while select.select([server], [], [], 0.5)[0]:  # Chromium connects ahead of what it then blocks
            with server.accept()[0] as connection:
                connection.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    assert connection.recv(100) == b""
        assert browser.run("return document.documentElement.lang") == "en"  # its own script ran
