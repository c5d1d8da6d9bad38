"""What is wrong with a file elsewhere is one line, and what was there stays."""

import gzip
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import Rnn

from extras.conftest import KEYS, S3, Environ, Page, Web
from rnncli.storage import remote

NETWORK = ("--hidden", "1", "--format", "csv")


@pytest.fixture
def closed_port() -> Iterator[str]:
    """A place where nothing answers: it is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def ways(url: str) -> list[tuple[str, ...]]:
    """Return command lines that name a file elsewhere in each way."""
    return [
        ("run", url, *NETWORK),
        ("run", "--seq", "1", *NETWORK, "-o", url),
        ("run", "--seq", "1", "--weights", f"{url}.npz"),
        ("run", "--seq", "1", *NETWORK, "--state", url),
        ("run", "--seq", "1", *NETWORK, "--state-in", url),
        ("run", "--seq", "1", *NETWORK, "--state-out", url),
        ("inspect", f"{url}.npz"),
    ]


def check_refused(run_rnn: Rnn, url: str, reason: str) -> None:
    """Check that each way ends before anything is written, with one line."""
    for run in ways(url):
        done = run_rnn(*run)
        shown = f"{url}.npz" if f"{url}.npz" in run else url
        assert (done.exit_code, done.stdout) == (2, ""), run
        assert done.stderr.startswith(f"Error: {shown}: "), run
        assert reason in done.stderr, run
        assert done.stderr.count("\n") == 1, run


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
def test_a_missing_bucket(run_rnn: Rnn) -> None:
    check_refused(run_rnn, "s3://no-such-bucket/x", "bucket does not exist")


@pytest.mark.slow
def test_no_credentials(run_rnn: Rnn, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    check_refused(run_rnn, s3.url("x"), "NoCredentialsError")


@pytest.mark.slow
def test_wrong_credentials(run_rnn: Rnn, guarded: S3) -> None:
    url = guarded.url("x")
    for run, code in zip(ways(url), (2, 1, 2, 2, 2, 1, 2), strict=True):
        done = run_rnn(*run)
        assert (done.exit_code, done.stderr.count("\n")) == (code, 1), run
        assert "access denied" in done.stderr, run


@pytest.mark.slow
def test_a_port_that_nobody_listens_at(
    run_rnn: Rnn, s3: S3, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{closed_port}")
    # A request that is made once: three take two seconds.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    check_refused(run_rnn, s3.url("x"), closed_port)
    url = f"http://{closed_port}/x"
    done = run_rnn("run", url, *NETWORK)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count(closed_port.split(":")[0]) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("foo://x/y", "nothing is known of foo://; known are s3://, gs:// and https://"),
        ("htps://x/y", "nothing is known of htps://; did you mean 'https'?"),
    ],
)
def test_an_unknown_protocol(run_rnn: Rnn, url: str, reason: str) -> None:
    check_refused(run_rnn, url, reason)


@pytest.fixture
def denied(s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """A server whose user may do nothing."""
    users = s3.service("iam")
    users.create_user(UserName=s3.bucket)
    keys = users.create_access_key(UserName=s3.bucket)["AccessKey"]
    monkeypatch.setenv(KEYS[0], keys["AccessKeyId"])
    monkeypatch.setenv(KEYS[1], keys["SecretAccessKey"])
    return s3


@pytest.mark.slow
@pytest.mark.usefixtures("denied", "guarded")
def test_denied(run_rnn: Rnn, s3: S3) -> None:
    url, reason = s3.url("x"), "access denied: "
    reading, writing, *_ = ways(url)
    done = run_rnn(*reading)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {url}: {reason}")
    # Who may not look may be allowed to write: it has to be tried.
    done = run_rnn(*writing)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {url}: {reason}")


@pytest.mark.parametrize("output", [("-o",), ("--state",), ("--state-out",)])
def test_a_missing_key_is_no_error_where_it_is_written(
    run_rnn: Rnn, s3: S3, output: tuple[str]
) -> None:
    done = run_rnn("run", "--seq", "1", *NETWORK, *output, s3.url("a/b"))
    assert (done.exit_code, done.stderr, s3.names()) == (0, "", ["a/b"])


@pytest.mark.slow
def test_a_missing_key_is_an_error_where_it_is_read(run_rnn: Rnn, s3: S3) -> None:
    reading, _, weights, *_, inspect = ways(s3.url("x"))
    for run in (reading, weights, inspect, ("run", s3.put("y", b"1\n"), s3.url("x"), *NETWORK)):
        done = run_rnn(*run)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "cannot be read: " in done.stderr
        assert s3.url("x") in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["", "a", "a/"])
def test_a_folder_is_no_file(run_rnn: Rnn, s3: S3, name: str) -> None:
    s3.put("a/b", b"1\n")
    url = s3.url(name)
    done = run_rnn("run", "--seq", "1", *NETWORK, "-o", url)
    reason = "Is a directory; give a file in it"
    assert (done.exit_code, done.stderr) == (2, f"Error: {url}: {reason}\n")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "cannot be read: no such file"),
        (403, "access denied: "),
        (401, "access denied: "),
        (500, "500"),
        (503, "503"),
    ],
)
def test_what_a_web_server_refuses(run_rnn: Rnn, web: Web, status: int, reason: str) -> None:
    for name in ("x.csv", "x.npy"):
        url = web.put(name, Page(b"not this", status))
        done = run_rnn("run", url, *NETWORK)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith(f"Error: {url}: ")
        assert reason in done.stderr


@pytest.mark.parametrize("location", ["/x.csv", "file:///etc/passwd"])
def test_a_redirect_that_leads_nowhere(run_rnn: Rnn, web: Web, location: str) -> None:
    url = web.put("x.csv", Page(b"", 302, location=location))
    done = run_rnn("run", url, *NETWORK)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"Error: {url}: ")


def test_an_address_without_a_host(run_rnn: Rnn) -> None:
    done = run_rnn("run", "http:///x.csv", *NETWORK)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["s3", "file"])
@pytest.mark.parametrize("name", ["x.csv", "x.npy", "x.csv.gz"])
def test_an_input_that_is_cut(
    run_rnn: Rnn, web: Web, s3: S3, tmp_path: object, name: str, to: str
) -> None:
    """What would have been written is not: the rows so far are no result."""
    content = b"1\n" * 500_000
    if name.endswith(".gz"):
        content = gzip.compress(b"".join(b"%d\n" % n for n in range(200_000)))
    url = web.put(name, Page(content, cut_at=len(content) // 2))
    s3.put("y.csv", b"old")
    output = s3.url("y.csv") if to == "s3" else f"{tmp_path}/y.csv"
    done = run_rnn("run", url, *NETWORK, "-o", output)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"Error: {url}: ")
    assert s3.get("y.csv") == b"old"
    assert s3.names() == ["y.csv"]


@pytest.mark.slow
def test_an_input_that_is_changed_while_it_is_read(
    run_rnn: Rnn, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PIECE", 1 << 10)
    url = s3.put("x.csv", b"1\n" * 1_000_000)

    def change(environ: Environ) -> None:
        if environ.get("HTTP_RANGE"):
            s3.before = None
            s3.put("x.csv", b"2\n" * 1_000_000)

    s3.before = change
    done = run_rnn("run", url, *NETWORK, "-o", s3.url("y.csv"))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"Error: {url}: ")
    assert s3.names() == ["x.csv"]


def refuse_parts(after: int) -> object:
    """Return what refuses what is put, after so many parts of it."""
    parts: list[str] = []

    def refuse(environ: Environ) -> str | None:
        if environ["REQUEST_METHOD"] != "PUT":
            return None
        parts.append(environ["QUERY_STRING"])
        return "403 Forbidden" if len(parts) > after else None

    return refuse


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "after"), [(10, 0), (1_500_000, 0), (1_500_000, 1), (1_500_000, 2)]
)
def test_an_upload_that_breaks_leaves_the_old_object(
    run_rnn: Rnn, s3: S3, monkeypatch: pytest.MonkeyPatch, rows: int, after: int
) -> None:
    monkeypatch.setattr(remote, "_PART", 5 << 20)
    s3.put("y.csv", b"old")
    s3.before = refuse_parts(after)  # type: ignore[assignment]
    done = run_rnn("run", *NETWORK, "-o", s3.url("y.csv"), stdin="1\n" * rows)
    s3.before = None
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {s3.url('y.csv')}: access denied: ")
    assert s3.get("y.csv") == b"old"
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=s3.bucket)


@pytest.mark.parametrize("wrong", ["x", "inf"])
def test_a_run_that_fails_leaves_the_old_object(run_rnn: Rnn, s3: S3, wrong: str) -> None:
    s3.put("y.csv", b"old")
    done = run_rnn("run", *NETWORK, "-o", s3.url("y.csv"), stdin=f"1\n{wrong}\n")
    assert done.exit_code == 2
    assert s3.get("y.csv") == b"old"


# What a run says in a process of its own, to its very end.
CASES = {
    "s3": (("s3:x.csv", "-o", "s3:y.csv", "--state", "s3:s.npz"), 0, 0),
    "web": (("web:x.csv", "-o", "s3:y.csv"), 0, 0),
    "no key": (("s3:no.csv",), 2, 1),
    "no page": (("web:no.csv",), 2, 1),
    "bad row": (("web:bad.csv", "-o", "s3:y.csv"), 2, 1),
    "no bucket": (("s3:x.csv", "-o", "s3://no-such-bucket/y.csv"), 2, 1),
    "cut": (("web:cut.csv", "-o", "s3:y.csv"), 2, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_nothing_else_is_said(s3: S3, web: Web, case: str) -> None:
    s3.put("x.csv", b"1\n2\n")
    web.put("x.csv", Page(b"1\n2\n"))
    web.put("bad.csv", Page(b"1\nx\n"))
    web.put("cut.csv", Page(b"1\n2\n3\n", cut_at=4))
    run, code, lines = CASES[case]
    places = {"s3:": s3.url(""), "web:": f"http://127.0.0.1:{web.server_port}/"}
    words = [
        next((to + word[len(name) :] for name, to in places.items() if word.startswith(name)), word)
        if not word.startswith("s3://")
        else word
        for word in run
    ]
    command = [sys.executable, "-W", "default", "-m", "rnncli", "run", *words, *NETWORK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (code, lines), done.stderr
    assert done.stderr.startswith("Error: " if lines else "")


# A library that is missing, blocked before anything is imported.
BLOCKED = """
import sys
sys.modules[sys.argv.pop(1)] = None
from rnncli.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "url"),
    [
        ("fsspec", "s3://a/b"),
        ("fsspec", "https://a/b"),
        ("s3fs", "s3://a/b"),
        ("gcsfs", "gs://a/b"),
        ("aiohttp", "https://a/b"),
    ],
)
def test_a_library_that_is_missing(missing: str, url: str) -> None:
    for run in (("run", url, *NETWORK), ("inspect", url)):
        command = [sys.executable, "-c", BLOCKED, missing, *run]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        expected = f"Error: {url}: {missing} is not installed: pip install 'rnncli[remote]'\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_weights_that_are_damaged_are_named_by_their_url(run_rnn: Rnn, s3: S3) -> None:
    for name in ("w.npz", "w.csv", "w.pt", "w.onnx", "w"):
        url = s3.put(name, b"1,2\n")
        for run in (("run", "--seq", "1", "--weights", url), ("inspect", url)):
            done = run_rnn(*run)
            assert (done.exit_code, done.stdout) == (2, "")
            assert done.stderr.startswith(f"Error: {url}: ")
            assert "/tmp" not in done.stderr
