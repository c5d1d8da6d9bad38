"""Servers on this machine for what lies elsewhere: S3, and the web."""

import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config
from moto.core.responses import ActionAuthenticatorMixin, settings
from moto.server import ThreadedMotoServer

Environ = dict[str, Any]
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class S3:
    """An S3 server with an empty bucket.

    Attributes
    ----------
    bucket : str
    asked : list of tuples
        Method and path of each request.
    before : callable, optional
        Called with the WSGI environment of each request before it is answered.
        A status line that it returns is the answer.
    """

    def __init__(self, server: ThreadedMotoServer, bucket: str) -> None:
        host, port = server.get_host_and_port()
        self.endpoint, self.bucket = f"http://{host}:{port}", bucket
        self.asked: list[tuple[str, str]] = []
        self.before: Callable[[Environ], str | None] | None = None
        self.client = self.service("s3")
        self.client.create_bucket(Bucket=bucket)

    def service(self, name: str) -> Any:
        """Return a client of a service of the server that makes each request once."""
        return boto3.client(
            name,
            endpoint_url=self.endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def url(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}"

    def put(self, name: str, content: bytes) -> str:
        """Put an object there, and return its URL."""
        self.client.put_object(Bucket=self.bucket, Key=name, Body=content)
        return self.url(name)

    def get(self, name: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        return content

    def names(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [each["Key"] for each in found]

    def answers(self, app: Any) -> Callable[[Environ, Any], Any]:
        """Return the WSGI application of a server that asks `before` first."""

        def answer(environ: Environ, start: Any) -> Any:
            self.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
            status = self.before(environ) if self.before else None
            if status is None:
                return app(environ, start)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(status, [("Content-Length", "0")])
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
    s3_server: ThreadedMotoServer,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[S3]:
    """An S3 server that the environment names, with a bucket for this test."""
    import s3fs

    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", float("inf"))
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


@pytest.fixture
def guarded(s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """An S3 server that checks who asks."""
    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    monkeypatch.setattr(ActionAuthenticatorMixin, "request_count", 0)
    return s3


class Page(NamedTuple):
    """What a web server answers.

    Parameters
    ----------
    content : bytes
    status : int
    cut_at : int, optional
        The connection ends after so many bytes.
    encoding : str
        The `Content-Encoding` of the content.
    location : str
        Where to look instead.
    """

    content: bytes
    status: int = 200
    cut_at: int | None = None
    encoding: str = "identity"
    location: str = ""


class Web(ThreadingHTTPServer):
    """A web server.

    Attributes
    ----------
    pages : dict
        By their paths.
    asked : list of tuples
        Method, path with query, and `Authorization` of each request.
    sent : int
        Bytes of pages.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.sent = 0

    def put(self, name: str, page: Page) -> str:
        self.pages[f"/{name}"] = page
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, *_: object) -> None:
        """Say nothing where a client has read enough."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        page = self._answer()
        sent = memoryview(page.content)[: page.cut_at]
        for start in range(0, len(sent), 1 << 16):
            self.server.sent += self.wfile.write(sent[start : start + (1 << 16)])
        if page.cut_at is not None:
            self.close_connection = True

    def _answer(self) -> Page:
        self.server.asked.append((self.command, self.path, self.headers["Authorization"]))
        page = self.server.pages.get(self.path.partition("?")[0], Page(b"", 404))
        self.send_response(page.status)
        self.send_header("Content-Length", str(len(page.content)))
        self.send_header("Content-Encoding", page.encoding)
        if page.location:
            self.send_header("Location", page.location)
        self.end_headers()
        return page

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
