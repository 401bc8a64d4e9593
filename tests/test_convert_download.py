"""download, against a server on this machine that breaks, lies and starts again."""

import hashlib
import http.server
import threading
from functools import partial

import pytest
from converting import complaint, run

from selfie_io.convert.commands import download
from selfie_io.convert.sources.published_digests import MD5

CONTENT = bytes(range(256)) * 4000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `behaviour` says how, `requests` keeps the Range of each request."""

    def __init__(self, behaviour, requests, *arguments):
        self.behaviour = behaviour
        self.requests = requests
        super().__init__(*arguments)

    def do_GET(self):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.requests.append(start)
        ranged = start > 0 and self.behaviour != "no ranges"
        content = CONTENT[start:] if ranged else CONTENT
        if self.behaviour == "missing":
            self.send_error(404)
            return
        if ranged and not content:
            self.send_error(416)
            return
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.behaviour == "other":
            content = content[::-1]
        if self.behaviour in ("breaks", "no ranges") and len(self.requests) < 3:
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch):
    """Start a server of a behaviour; returns its URL and the list of requests."""
    monkeypatch.setitem(download.SETS, "cifar10", download.Published(
        "http://127.0.0.1:1", {"a.tar.gz": hashlib.md5(CONTENT).hexdigest()}, "free",
    ))  # fmt: skip
    servers = []

    def start(behaviour):
        requests = []
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, behaviour, requests))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("behaviour", ["whole", "breaks", "no ranges"])
def test_a_broken_download_goes_on(tmp_path, serve, behaviour, capsys):
    url, requests = serve(behaviour)
    assert run("download", "cifar10", tmp_path, "--mirror", url) == 0
    assert (tmp_path / "a.tar.gz").read_bytes() == CONTENT
    assert names(tmp_path) == ["a.tar.gz"]
    half = len(CONTENT) // 2
    assert (
        requests
        == {"whole": [0], "breaks": [0, half, half + half // 2], "no ranges": [0, half, half]}[behaviour]
    )
    assert run("download", "cifar10", tmp_path, "--mirror", url) == 0
    assert "is there already" in capsys.readouterr().out
    assert len(requests) <= 3, "what is there is not fetched again"


def test_what_an_earlier_run_left_is_used(tmp_path, serve):
    url, requests = serve("whole")
    (tmp_path / ".a.tar.gz.part").write_bytes(CONTENT[:1000])
    assert run("download", "cifar10", tmp_path, "--mirror", url) == 0
    assert requests == [1000]
    (tmp_path / "a.tar.gz").unlink()
    (tmp_path / ".a.tar.gz.part").write_bytes(CONTENT)
    assert run("download", "cifar10", tmp_path, "--mirror", url) == 0
    assert names(tmp_path) == ["a.tar.gz"]


def test_other_content_is_refused_and_nothing_kept(tmp_path, serve, capsys):
    url, _ = serve("other")
    said = complaint(capsys, 1, "download", "cifar10", tmp_path, "--mirror", url)
    assert "published is" in said
    assert names(tmp_path) == []


def test_no_server_and_no_file(tmp_path, serve, capsys):
    url, requests = serve("missing")
    assert "404" in complaint(capsys, 1, "download", "cifar10", tmp_path, "--mirror", url)
    assert len(requests) == 1, "what is not there is not asked for again"
    assert "127.0.0.1:1" in complaint(capsys, 1, "download", "cifar10", tmp_path)
    assert "NAME must be one of cifar10" in complaint(capsys, 2, "download", "imagenet", tmp_path)


def test_the_table_of_sets_has_published_sums():
    for name, published in download.SETS.items():
        assert set(published.files.values()) <= set(MD5.values()), name
        assert published.url.startswith("http")
