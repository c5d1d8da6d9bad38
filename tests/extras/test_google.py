"""Files on Google Cloud, from a server of this machine that answers gcsfs."""

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import fsspec
import pytest
from conftest import SAMPLES, Rnn

from rnncli.storage import version


class Google(ThreadingHTTPServer):
    """A server of one bucket, ``mine``.

    Attributes
    ----------
    objects : dict
        Contents by name.
    puts : Counter
        How often each was put.
    refuses : int, optional
        The status of every answer to what is put.
    before : callable, optional
        Called with the name of what is put, before it is.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.puts = Counter[str]()
        self.refuses: int | None = None
        self.before: Callable[[str], None] | None = None

    def put(self, name: str, content: bytes) -> None:
        self.objects[name] = content
        self.puts[name] += 1

    def handle_error(self, *_: object) -> None:
        """Say nothing where a client goes."""


class _Handler(BaseHTTPRequestHandler):
    server: Google

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        found = re.fullmatch("(/download)?/storage/v1/b/mine/o/?(.*)", path)
        name = unquote(found[2]) if found else ""
        if not found or (name and name not in self.server.objects):
            self.answer(404, b"Not Found")
        elif found[1]:
            start, end = map(int, re.findall(r"\d+", self.headers["Range"]))
            self.answer(206, self.server.objects[name][start : end + 1])
        else:
            self.tell(self.about(name) if name else {"items": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        query = dict(parse_qsl(urlsplit(self.path).query))
        if self.server.refuses:
            self.answer(self.server.refuses, b'{"error": {"message": "no"}}')
            return
        if query["uploadType"] == "media":
            name = query["name"]
        else:
            _, about, content, _ = body.split(b"--==0==")
            name = json.loads(about.partition(b"\n\n")[2])["name"]
            body = content.partition(b"\n\n")[2][:-1]
        if self.server.before:
            self.server.before(name)
        if query.get("ifGenerationMatch") not in (None, str(self.server.puts[name])):
            self.answer(412, b'{"error": {"message": "no such generation"}}')
            return
        self.server.put(name, body)
        self.tell(self.about(name))

    def about(self, name: str) -> dict[str, Any]:
        size, number = str(len(self.server.objects[name])), str(self.server.puts[name])
        about = {"bucket": "mine", "name": name, "size": size}
        return about | {"etag": f"e{number}", "generation": number}

    def tell(self, document: dict[str, Any]) -> None:
        self.answer(200, json.dumps(document).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    with Google() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        fsspec.get_filesystem_class("gs").clear_instance_cache()
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_two_nights_there_are_two_nights_here(run_rnn: Rnn, google: Google, tmp_path: Path) -> None:
    for name in ("sunspots.csv", "sunspots.keras"):
        google.objects[name] = (SAMPLES / name).read_bytes()
        (tmp_path / name).write_bytes(google.objects[name])
    for night in (1, 2):
        for place in ("gs://mine", tmp_path):
            run = ("run", f"{place}/sunspots.csv", "--weights", f"{place}/sunspots.keras")
            to = ("--state", f"{place}/s", "-o", f"{place}/y{night}.csv")
            done = run_rnn(*run, "--columns", "2", *to)
            assert (done.exit_code, done.output) == (0, "")
    here = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert google.objects == here
    assert here.keys() >= {"y1.csv", "y2.csv", "s"}


def test_versions(google: Google, run_rnn: Rnn) -> None:
    assert version("gs://mine/y") == ""
    found = []
    for _ in range(2):
        assert run_rnn("run", "--seq", "1", "--hidden", "1", "-o", "gs://mine/y").exit_code == 0
        found.append(version("gs://mine/y"))
    assert found == [f"{len(google.objects['y'])} e{n}" for n in (1, 2)]


@pytest.mark.parametrize("there", [False, True])
def test_a_state_that_another_run_changed_is_left(
    google: Google, run_rnn: Rnn, *, there: bool
) -> None:
    run = ("run", "--seq", "1", "--hidden", "1", "--state", "gs://mine/s")
    if there:
        assert run_rnn(*run).exit_code == 0
    google.before = lambda name: google.put(name, b"another")
    done = run_rnn(*run)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("Error: gs://mine/s: changed by another program since this run")
    assert google.objects == {"s": b"another"}


def test_what_is_missing(google: Google, run_rnn: Rnn) -> None:
    for url in ("gs://mine/x.csv", "gs://other/x.csv"):
        done = run_rnn("run", url, "--hidden", "1")
        assert (done.exit_code, done.stderr) == (2, f"Error: {url}: cannot be read: no such file\n")
    assert not google.puts


def test_what_is_refused_leaves_the_old_object(google: Google, run_rnn: Rnn) -> None:
    google.objects["y"] = b"old"
    google.refuses = 403
    done = run_rnn("run", "--seq", "1", "--hidden", "1", "-o", "gs://mine/y")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("Error: gs://mine/y: access denied: ")
    assert google.objects == {"y": b"old"}


@pytest.mark.slow
def test_nothing_else_is_said(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of gcsfs has the error once more, with a traceback."""
    monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")
    google.refuses = 400
    command = [
        sys.executable,
        "-W",
        "default",
        "-m",
        "rnncli",
        "run",
        "--seq",
        "1",
        "--hidden",
        "1",
    ]
    done = subprocess.run(
        [*command, "-o", "gs://mine/y"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "Error: gs://mine/y: HttpError: no, 400\n")
