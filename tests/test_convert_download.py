"""download, against a server on this machine that breaks, lies and starts again."""

import contextlib
import hashlib
import http.server
import re
import threading
import time
from functools import partial

import pytest
from converting import complaint, run

from selfie_io.convert.commands import download
from selfie_io.convert.sources.published_digests import MD5
from selfie_io.convert.storage.part_file import own_part

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


def test_each_process_has_a_part_of_its_own_and_follows_no_link(tmp_path, serve, capsys):
    url, requests = serve("whole")
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / ".a.tar.gz.part").symlink_to("precious")
    (tmp_path / ".a.tar.gz.part-1-aaaaaaaa").hardlink_to(tmp_path / "precious")
    with own_part(tmp_path / "a.tar.gz") as living:
        living.file.write(b"of another process")
        assert run("download", "cifar10", tmp_path, "--mirror", url) == 0
    assert requests == [0]
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert living.path.read_bytes() == b"of another process"
    (tmp_path / "a.tar.gz").write_bytes(b"mine")
    assert "must not hold another a.tar.gz" in complaint(
        capsys, 2, "download", "cifar10", tmp_path, "--mirror", url
    )
    assert (tmp_path / "a.tar.gz").read_bytes() == b"mine"


def test_other_content_is_refused_and_nothing_kept(tmp_path, serve, capsys):
    url, _ = serve("other")
    said = complaint(capsys, 1, "download", "cifar10", tmp_path, "--mirror", url)
    assert "published is" in said
    assert names(tmp_path) == []


def test_no_server_and_no_file(tmp_path, serve, capsys):
    url, requests = serve("missing")
    said = complaint(capsys, 1, "download", "cifar10", tmp_path, "--mirror", url)
    assert "404" in said
    assert "run it again" not in said  # it would be 404 again
    assert "--mirror URL names another place" in said
    assert not list(tmp_path.glob(".*part*"))
    assert len(requests) == 1, "what is not there is not asked for again"
    assert "127.0.0.1:1" in complaint(capsys, 1, "download", "cifar10", tmp_path)
    assert "NAME must be one of cifar10" in complaint(capsys, 2, "download", "imagenet", tmp_path)


def test_the_table_of_sets_has_published_sums():
    for name, published in download.SETS.items():
        assert set(published.files.values()) <= set(MD5.values()), name
        assert published.url.startswith("http")


class Hostile(http.server.BaseHTTPRequestHandler):
    """Sends for ever, byte by byte, or lies about the size."""

    def __init__(self, behaviour, *arguments):
        self.behaviour = behaviour
        super().__init__(*arguments)

    def do_GET(self):
        if "Authorization" in self.headers or self.behaviour == "locked":
            self.send_error(401)
            return
        self.send_response(200)
        if self.behaviour.startswith("length "):
            self.send_header("Content-Length", self.behaviour[7:])
        self.end_headers()
        with contextlib.suppress(OSError):
            if self.behaviour == "drips":
                for _ in range(300):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            while self.behaviour == "endless":
                self.wfile.write(bytes(1 << 16))
            if self.behaviour == "waits":
                time.sleep(20)
            self.wfile.write(CONTENT)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hostile(monkeypatch, serve):  # noqa: ARG001 - the published set
    """The URL of a server of a behaviour, with short bounds."""
    monkeypatch.setattr(download, "_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(download, "_MAX_BYTES", 5_000_000)
    monkeypatch.setattr(download, "_ATTEMPTS", 1)
    servers = []

    def start(behaviour):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Hostile, behaviour))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ("endless", "more than"),
        ("drips", "must send 500 bytes in 0.5 s"),
        ("waits", "timed out|no answer|must send"),
        ("length 1000000000000000000000000000000", ""),
        ("length -5", ""),
        ("length 99999999", "more than"),
    ],
)
def test_a_hostile_server_has_bounds_of_time_and_size(tmp_path, hostile, capsys, behaviour, told):
    begin = time.monotonic()
    status = run("download", "cifar10", tmp_path, "--mirror", f"http://{hostile(behaviour)}")
    assert time.monotonic() - begin < 15
    assert status == bool(told)  # a length that makes no sense is as good as none
    said = capsys.readouterr().err
    assert re.search(told, said)
    if behaviour in ("endless", "length 99999999"):  # it would be so again
        assert "run it again" not in said
        assert names(tmp_path) == []


@pytest.mark.parametrize("mirror", ["memory://x", "http://", "file:///nowhere", "127.0.0.1"])
def test_a_mirror_that_can_never_answer_is_not_asked_again(tmp_path, serve, capsys, mirror):
    serve("whole")
    said = complaint(capsys, 1, "download", "cifar10", tmp_path, "--mirror", mirror)
    assert "a.tar.gz" in said
    assert "run it again" not in said


def test_a_redirection_to_no_url_names_the_url(tmp_path, monkeypatch):
    """urllib raises ValueError for http://[::1, without a word about where it was told."""

    def continue_(*_):
        raise ValueError("Invalid IPv6 URL")

    monkeypatch.setattr(download, "_continue", continue_)
    with pytest.raises(OSError, match=r"host/a: Invalid IPv6 URL; --mirror URL names another place"):
        download.fetch("http://user:secret@host/a", tmp_path / "a", "")


@pytest.mark.parametrize(
    "url", ["http://user:SECRET@{}", "http://{}/x?token=SECRET", "http://user:SEC%2FRET@{}"]
)
def test_no_secret_of_a_mirror_is_printed(tmp_path, hostile, capsys, url):
    assert run("download", "cifar10", tmp_path, "--mirror", url.format(hostile("locked"))) in (1, 2)
    shown = "".join(capsys.readouterr())
    assert "SEC" not in shown
    assert "127.0.0.1" in shown
