"""Servers on this machine for what lies elsewhere: S3, Google Cloud, and the web."""

import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
import fsspec
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class Store:
    """Objects that a server has under a URL."""

    root: str

    def __init__(self) -> None:
        # Method and path of each request.
        self.asked: list[tuple[str, str]] = []
        # Called with method and name before a request is answered; it may return the status.
        self.before: Callable[[str, str], int | None] | None = None

    def url(self, name: str) -> str:
        return f"{self.root}{name}"

    def check(self, method: str, path: str) -> int | None:
        """Note a request; return the status to answer with, if it is decided already."""
        self.asked.append((method, path))
        return self.before(method, path.rpartition("/")[2]) if self.before else None


class S3(Store):
    """An S3 server with an empty bucket."""

    def __init__(self, server: ThreadedMotoServer, bucket: str) -> None:
        super().__init__()
        host, port = server.get_host_and_port()
        self.endpoint, self.bucket, self.root = f"http://{host}:{port}", bucket, f"s3://{bucket}/"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self.client.create_bucket(Bucket=bucket)

    def put(self, name: str, content: bytes) -> str:
        self.client.put_object(Bucket=self.bucket, Key=name, Body=content)
        return self.url(name)

    def objects(self) -> dict[str, bytes]:
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        get = self.client.get_object
        return {
            each["Key"]: get(Bucket=self.bucket, Key=each["Key"])["Body"].read() for each in found
        }

    def answers(self, app: Any) -> Callable[[dict[str, Any], Any], Any]:
        """Return the WSGI application of a server that asks `check` first."""

        def answer(environ: dict[str, Any], start: Any) -> Any:
            status = self.check(environ["REQUEST_METHOD"], environ["PATH_INFO"])
            if status is None:
                return app(environ, start)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(f"{status} Refused", [("Content-Length", "0")])
            return [b""]

        return answer


@pytest.fixture(scope="session")
def s3_server() -> Iterator[ThreadedMotoServer]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(
    s3_server: ThreadedMotoServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3]:
    """An S3 server that the environment names, with a bucket for this test."""
    import s3fs

    server: Any = s3_server._server
    app = server.app
    found = S3(s3_server, f"bucket-{abs(hash(request.node.nodeid))}")
    server.app = found.answers(app)
    monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in KEYS:
        monkeypatch.setenv(name, "mine")
    s3fs.S3FileSystem.clear_instance_cache()
    yield found
    s3fs.S3FileSystem.clear_instance_cache()
    server.app = app


class Server(ThreadingHTTPServer):
    """A server of one store."""

    store: Any

    def handle_error(self, *_: object) -> None:
        """Do nothing where a client has read enough."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[Handler]) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Google(Store):
    """A server of one bucket, ``mine``."""

    root = "gs://mine/"

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[str, bytes] = {}
        self.puts = Counter[str]()

    def put(self, name: str, content: bytes) -> str:
        self.contents[name] = content
        self.puts[name] += 1
        return self.url(name)

    def objects(self) -> dict[str, bytes]:
        return self.contents

    def about(self, name: str) -> dict[str, Any]:
        size, number = str(len(self.contents[name])), str(self.puts[name])
        about = {"bucket": "mine", "name": name, "size": size}
        return about | {"etag": f"e{number}", "generation": number}


class GoogleHandler(Handler):
    def do_GET(self) -> None:
        store, (_, _, path, query, _) = self.server.store, urlsplit(self.path)
        found = re.fullmatch("(/download)?/storage/v1/b/mine/o/?(.*)", path)
        name = unquote(found[2]) if found else ""
        if status := store.check("GET", f"/{name}"):
            self.answer(status, b'{"error": {"message": "no"}}')
        elif not found or (name and name not in store.contents):
            self.answer(404, b"Not Found")
        elif found[1]:
            start, end = map(int, re.findall(r"\d+", self.headers["Range"]))
            self.answer(206, store.contents[name][start : end + 1])
        elif name:
            self.answer(200, json.dumps(store.about(name)).encode())
        else:
            prefix = dict(parse_qsl(query)).get("prefix", "")
            items = [store.about(each) for each in store.contents if each.startswith(prefix)]
            self.answer(200, json.dumps({"items": items}).encode())

    def do_POST(self) -> None:
        store = self.server.store
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, about, content, _ = body.split(b"--==0==")
        name = json.loads(about.partition(b"\n\n")[2])["name"]
        if status := store.check("PUT", f"/{name}"):
            self.answer(status, b'{"error": {"message": "no"}}')
        else:
            store.put(name, content.partition(b"\n\n")[2][:-1])
            self.answer(200, json.dumps(store.about(name)).encode())


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    with serving(GoogleHandler) as server:
        server.store = Google()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        yield server.store
        fsspec.get_filesystem_class("gs").clear_instance_cache()


class Page(NamedTuple):
    """An answer of a web server: `cut_at` is the byte at which the connection ends."""

    content: bytes
    status: int = 200
    cut_at: int | None = None
    encoding: str = "identity"
    location: str = ""


class Web(Store):
    """A web server, the `Authorization` of its requests, and how many bytes of pages it sent."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.root = f"http://127.0.0.1:{port}/"
        self.pages: dict[str, Page] = {}
        self.authorizations: list[str | None] = []
        self.sent = 0

    def put(self, name: str, content: bytes) -> str:
        return self.show(name, Page(content))

    def show(self, name: str, page: Page) -> str:
        self.pages[f"/{name}"] = page
        return self.url(name)


class WebHandler(Handler):
    def do_GET(self) -> None:
        store = self.server.store
        store.check("GET", self.path)
        store.authorizations.append(self.headers["Authorization"])
        page = store.pages.get(self.path.partition("?")[0], Page(b"", 404))
        size = str(len(page.content))
        location = {"Location": page.location} if page.location else {}
        self.answer(page.status, Content_Length=size, Content_Encoding=page.encoding, **location)
        sent = memoryview(page.content)[: page.cut_at]
        for start in range(0, len(sent), 1 << 16):
            store.sent += self.wfile.write(sent[start : start + (1 << 16)])
        self.close_connection = page.cut_at is not None


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(WebHandler) as server:
        server.store = Web(server.server_port)
        yield server.store


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Any:
    """The fixture that a test is parametrized with."""
    return request.getfixturevalue(request.param)
