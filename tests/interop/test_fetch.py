"""`fetch` against a server on the loopback that does what servers do."""

import hashlib
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.interop import fetch
from alexnet_jax.interop.fetch import Published

CONTENT = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(CONTENT).hexdigest()[:8]
NAME = "net-owt.pth"


class Server:
    """Answers as a test says; keeps the ranges that were asked for."""

    def __init__(self):
        self.answer, self.ranges = self.whole, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.ranges.append(self.headers.get("Range"))
                server.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.root = f"http://127.0.0.1:{self.http.server_address[1]}"

    def file(self, most=2**20):
        return Published(f"{self.root}/{NAME}", SHA256, most)

    @staticmethod
    def send(request, body, code=200, length=None, **headers):
        request.send_response(code)
        if length != "none":
            request.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    def whole(self, request):
        self.send(request, CONTENT)

    def by_parts(self, request, most=100_000):
        """Honours ranges, and breaks off after `most` bytes."""
        asked = request.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        rest = CONTENT[start:]
        if not rest:
            self.send(request, b"", 416)
        else:
            place = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
            self.send(request, rest[:most], 206 if asked else 200, len(rest), Content_Range=place)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def partial(folder):
    return folder / f"{NAME}.partial"


def test_a_file_is_fetched_once(server, tmp_path):
    path = fetch.fetch(server.file(), tmp_path)
    assert path == tmp_path / NAME
    assert path.read_bytes() == CONTENT
    assert fetch.fetch(server.file(), tmp_path) == path
    assert server.ranges == [None]
    assert [each.name for each in tmp_path.iterdir()] == [NAME]


def test_what_came_is_kept_and_the_rest_asked_for(server, tmp_path):
    server.answer = server.by_parts
    assert fetch.fetch(server.file(), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_a_later_call_resumes(server, tmp_path):
    def once(request):
        server.answer = lambda request: server.send(request, b"", 503)
        server.by_parts(request)

    server.answer = once
    with pytest.raises(RunFailure, match=r"100,000 bytes are kept.*answers 503.*copy net-owt.pth to "):
        fetch.fetch(server.file(), tmp_path)
    assert partial(tmp_path).read_bytes() == CONTENT[:100_000]
    server.answer = lambda request: server.by_parts(request, len(CONTENT))
    assert fetch.fetch(server.file(), tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=100000-"


def test_a_server_without_ranges_begins_again(server, tmp_path):
    partial(tmp_path).write_bytes(b"something else")
    assert fetch.fetch(server.file(), tmp_path).read_bytes() == CONTENT


def test_a_server_that_never_gives_the_rest(server, tmp_path):
    server.answer = lambda request: server.send(request, CONTENT[:1000], length=len(CONTENT))
    with pytest.raises(RunFailure, match="broke off at 1,000 of 262,144 bytes"):
        fetch.fetch(server.file(), tmp_path)
    assert len(server.ranges) == 1 + 1 + fetch._ATTEMPTS_IN_VAIN


def test_a_server_that_promises_more_than_there_is(server, tmp_path):
    server.answer = lambda request: server.send(request, CONTENT, length=len(CONTENT) + 999)
    assert fetch.fetch(server.file(), tmp_path).read_bytes() == CONTENT


def test_a_server_that_promises_less_than_there_is(server, tmp_path):
    server.answer = lambda request: server.send(request, CONTENT, length=len(CONTENT) - 1)
    with pytest.raises(RunFailure, match="gave 262,143 bytes that are not the published file"):
        fetch.fetch(server.file(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_says_no_length(server, tmp_path):
    server.answer = lambda request: server.send(request, CONTENT, length="none")
    assert fetch.fetch(server.file(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["-5", "1e3", "9" * 40, "", "\xb2"])
def test_a_length_that_is_none(server, tmp_path, length):
    server.answer = lambda request: server.send(request, CONTENT, length=length)
    assert fetch.fetch(server.file(), tmp_path).read_bytes() == CONTENT


def test_wrong_bytes_are_removed(server, tmp_path):
    server.answer = lambda request: server.send(request, b"<html>Sign in to this network</html>")
    with pytest.raises(RunFailure, match=f"begins with {SHA256}; they were removed"):
        fetch.fetch(server.file(), tmp_path)
    server.answer = server.whole
    assert fetch.fetch(server.file(), tmp_path).read_bytes() == CONTENT


def test_another_part_than_was_asked_for(server, tmp_path):
    partial(tmp_path).write_bytes(CONTENT[:50])
    server.answer = lambda request: server.send(request, CONTENT, 206, Content_Range="bytes 7-262143/262144")
    with pytest.raises(RunFailure, match="another part"):
        fetch.fetch(server.file(), tmp_path)


def test_more_than_the_file_can_have(server, tmp_path):
    server.answer = lambda request: server.send(request, CONTENT, length="none")
    with pytest.raises(RunFailure, match="more than 1,000 bytes"):
        fetch.fetch(server.file(most=1000), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_redirect_is_followed(server, tmp_path):
    def redirect(request):
        server.answer = server.whole
        server.send(request, b"", 302, Location=f"{server.root}/elsewhere")

    server.answer = redirect
    assert fetch.fetch(server.file(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirect_out_of_the_web_is_not(server, tmp_path, target):
    server.answer = lambda request: server.send(request, b"", 302, Location=target)
    with pytest.raises(RunFailure, match="cannot be fetched"):
        fetch.fetch(server.file(), tmp_path)


def test_a_redirect_from_an_encrypted_address_to_another_is_not_followed():
    asked = urllib.request.Request("https://a.example/x")
    with pytest.raises(OSError, match="leads to an address of http"):
        fetch._Redirects().redirect_request(asked, None, 302, "", {}, "http://a.example/x")


def test_a_redirect_without_end(server, tmp_path):
    server.answer = lambda request: server.send(request, b"", 302, Location=f"{server.root}/{NAME}")
    with pytest.raises(RunFailure, match="answers 302"):
        fetch.fetch(server.file(), tmp_path)


def test_no_such_file_on_the_server(server, tmp_path):
    server.answer = lambda request: server.send(request, b"gone", 404)
    with pytest.raises(RunFailure, match="answers 404"):
        fetch.fetch(server.file(), tmp_path)
    assert len(server.ranges) == 1


def test_no_network(server, tmp_path):
    file = server.file()
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(RunFailure) as caught:
        fetch.fetch(file, tmp_path)
    assert "refused" in str(caught.value)
    assert f"copy {NAME} to {tmp_path / NAME}" in str(caught.value)


def test_a_file_that_was_copied_there_is_checked(server, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(UsageError, match=f"is not the published {NAME}.*remove it"):
        fetch.fetch(server.file(), tmp_path)
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch.fetch(server.file(), tmp_path) == tmp_path / NAME
    assert server.ranges == []


def test_one_process_fetches_at_a_time(server, tmp_path):
    with (
        fetch._locked(partial(tmp_path)),
        pytest.raises(UsageError, match="another process is fetching"),
    ):
        fetch.fetch(server.file(), tmp_path)
