"""Files on S3, Google Cloud and the web are read and written as files of this machine are."""

import gzip
import io
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import Result
from conftest import ROOT, SAMPLES, Rnn
from pyarrow import parquet
from pyarrow.csv import read_csv

from extras.conftest import S3, Google, Page, Web

SUNSPOTS = (SAMPLES / "sunspots.csv").read_bytes()
WEIGHTS = (SAMPLES / "sunspots.keras").read_bytes()
SMALL = ("--hidden", "1", "--format", "csv")
EACH = pytest.mark.parametrize("store", ["s3", "google", "web"], indirect=True)
WRITABLE = pytest.mark.parametrize("store", ["s3", "google"], indirect=True)


def forms() -> dict[str, bytes]:
    """The same numbers in files of several forms."""
    npy, table = io.BytesIO(), io.BytesIO()
    np.save(npy, np.loadtxt(io.BytesIO(SUNSPOTS), delimiter=",", skiprows=1))
    parquet.write_table(read_csv(io.BytesIO(SUNSPOTS)), table, row_group_size=100)
    texts = {"csv": SUNSPOTS, "csv.gz": gzip.compress(SUNSPOTS)}
    return texts | {"npy": npy.getvalue(), "parquet": table.getvalue()}


def refused(done: Result, place: str, words: str, code: int = 2) -> None:
    """Check that a run ended with one line that begins with its place."""
    assert (done.exit_code, done.stderr.count("\n")) == (code, 1), done.output
    assert code == 1 or not done.stdout
    assert done.stderr.startswith(f"Error: {place}: "), done.stderr
    assert words in done.stderr


@EACH
def test_an_input_of_any_form_is_read(run_rnn: Rnn, tmp_path: Path, store: Any) -> None:
    """Twice, as --center auto does."""
    options = ("--columns", "2", "--center", "auto", "--scale", "auto", "--hidden", "3")
    for form, content in forms().items():
        (tmp_path / f"x.{form}").write_bytes(content)
        url = store.put(f"x.{form}", content)
        here, there = (
            run_rnn("run", path, *options, "--format", "csv")
            for path in (tmp_path / f"x.{form}", url)
        )
        assert (there.exit_code, there.output) == (0, here.output)
        assert there.stdout.count("\n") == 310


@WRITABLE
def test_two_nights_at_a_url_are_two_nights_here(run_rnn: Rnn, store: Any, tmp_path: Path) -> None:
    """Weights, state, and outputs of any form."""
    for name, content in (("sunspots.csv", SUNSPOTS), ("sunspots.keras", WEIGHTS)):
        store.put(name, content)
        (tmp_path / name).write_bytes(content)
    for place in (store.root, f"{tmp_path}/"):
        run = ("run", f"{place}sunspots.csv", "--columns", "2")
        for form in ("csv", "jsonl"):
            state = ("--state-in", f"{place}s-csv") if form == "jsonl" else ()
            to = (*state, "--state-out", f"{place}s-{form}", "-o", f"{place}y.{form}")
            done = run_rnn(*run, "--weights", f"{place}sunspots.keras", *to)
            assert (done.exit_code, done.output) == (0, "")
        # Outputs without the name of a file in them.
        drawn = (*run, "--hidden", "3")
        assert run_rnn(*drawn, "--state-out", f"{place}s2").exit_code == 0
        for form in ("json", "npy", "png", "parquet", "arrow"):
            to = ("--state-in", f"{place}s2", "-o", f"{place}y.{form}")
            assert run_rnn(*drawn, *to).exit_code == 0
    assert store.objects() == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Numbers that are read in two pieces, and whose states are put in three parts."""
    np.save(tmp_path / "x.npy", np.zeros((600_000, 4), np.float32))
    return tmp_path / "x.npy"


def test_a_large_input_and_output_go_in_blocks(run_rnn: Rnn, s3: S3, large: Path) -> None:
    url, to = s3.put("x.npy", large.read_bytes()), large.with_name("y.npy")
    assert run_rnn("run", large, "--hidden", "8", "-o", to).exit_code == 0
    assert run_rnn("run", url, "--hidden", "8", "-o", s3.url("y.npy")).exit_code == 0
    assert s3.objects()["y.npy"] == to.read_bytes()


@pytest.mark.parametrize("there", [False, True], ids=["new", "old"])
@pytest.mark.parametrize("request_before", [("GET", "x.csv"), ("PUT", "s")], ids=["read", "put"])
def test_conflict_leaves_the_state_of_the_other_run(
    run_rnn: Rnn, s3: S3, request_before: tuple[str, str], *, there: bool
) -> None:
    """The other run ends while this one reads its input, or while it puts its state."""
    run = ("run", s3.put("x.csv", b"1\n2\n"), *SMALL, "--state", s3.url("s"))
    if there:
        assert run_rnn(*run).exit_code == 0

    def change(method: str, name: str) -> None:
        if (method, name) == request_before:
            s3.before = None
            s3.put("s", b"another")

    s3.before = change
    done = run_rnn(*run)
    assert (done.exit_code, done.stdout.count("\n"), done.stderr.count("\n")) == (1, 3, 1)
    assert done.stderr.startswith(f"Error: {s3.url('s')}: changed by another program")
    assert s3.objects()["s"] == b"another"


def test_a_store_without_conditions_has_no_state_that_is_read_and_written(
    run_rnn: Rnn, google: Google
) -> None:
    done = run_rnn("run", "--seq", "1", *SMALL, "--state", google.url("s"))
    refused(done, google.url("s"), "give --state-in and --state-out", 1)
    assert google.objects() == {}


@pytest.mark.parametrize(
    ("store", "parts"), [("s3", 0), ("s3", 1), ("google", 0)], indirect=["store"]
)
def test_a_refused_output_leaves_the_old_one(
    run_rnn: Rnn, store: Any, large: Path, parts: int
) -> None:
    """At once, or after the first of its parts."""
    store.put("y", b"old")
    puts = iter(range(parts))

    def refuse(method: str, _: str) -> int | None:
        return 403 if method == "PUT" and next(puts, None) is None else None

    store.before = refuse
    run = (large, "--hidden", "8", "--format", "npy") if parts else ("--seq", "1", *SMALL)
    done = run_rnn("run", *run, "-o", store.url("y"))
    store.before = None
    refused(done, store.url("y"), "Forbidden", 1)
    assert store.objects() == {"y": b"old"}
    if isinstance(store, S3):
        assert "Uploads" not in store.client.list_multipart_uploads(Bucket=store.bucket)


def ways(url: str) -> list[tuple[str, ...]]:
    """Return command lines that name a file in each way: first those that read it."""
    return [
        ("run", url, *SMALL),
        ("run", "--seq", "1", "--weights", f"{url}.npz"),
        ("inspect", f"{url}.npz"),
        ("run", "--seq", "1", *SMALL, "--state-in", url),
        ("run", "--seq", "1", *SMALL, "--state", url),
        ("run", "--seq", "1", *SMALL, "--state-out", url),
        ("run", "--seq", "1", *SMALL, "-o", url),
    ]


def check_refused(run_rnn: Rnn, url: str, words: str, *codes: int) -> None:
    """Check that each way ends with one line; by default before anything is read or written."""
    for n, run in enumerate(ways(url)):
        place = f"{url}.npz" if f"{url}.npz" in run else url
        done = run_rnn(*run)
        refused(done, place, words, codes[n] if codes else 2)


@EACH
def test_a_missing_file_is_an_error_where_it_is_read(run_rnn: Rnn, store: Any) -> None:
    for run in ways(store.url("no"))[:3]:
        refused(run_rnn(*run), next(w for w in run if "://" in w), "FileNotFoundError")


def test_a_file_that_nobody_can_open_is_one_line(
    run_rnn: Rnn, s3: S3, google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is computed."""
    check_refused(run_rnn, "foo://x/y", "foo")
    check_refused(run_rnn, "s3://no-such-bucket/x", "")
    refused(run_rnn("run", "gs://other/x", *SMALL), "gs://other/x", "FileNotFoundError")
    assert (s3.objects(), google.objects()) == ({}, {})
    s3.put("a/b", b"1\n")
    for name in ("", "a/"):
        refused(run_rnn("run", "--seq", "1", *SMALL, "-o", s3.url(name)), s3.url(name), "written")
    with monkeypatch.context() as patch, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        port = f"127.0.0.1:{taken.getsockname()[1]}"
        patch.setenv("AWS_ENDPOINT_URL", f"http://{port}")
        # A request that is made once: three take two seconds.
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        check_refused(run_rnn, s3.url("x"), port)
        refused(run_rnn("run", f"http://{port}/x", *SMALL), f"http://{port}/x", "Connect")


def test_wrong_credentials(run_rnn: Rnn, s3: S3) -> None:
    """A user who may not look may be allowed to write: that is tried, and then has failed."""
    s3.before = lambda *_: 403
    check_refused(run_rnn, s3.url("x"), "Forbidden", 2, 2, 2, 2, 2, 1, 1)


def test_a_page_that_is_refused_is_one_line(run_rnn: Rnn, web: Web) -> None:
    for status, words in ((401, "Unauthorized"), (403, "Forbidden"), (500, "500"), (503, "503")):
        for name in ("x", "x.npy"):
            url = web.show(name, Page(b"no", status))
            refused(run_rnn("run", url, *SMALL), url, words)
    for location in ("/x", "file:///etc/passwd"):
        url = web.show("x", Page(b"", 302, location=location))
        refused(run_rnn("run", url, *SMALL), url, "")
    refused(run_rnn("run", "--seq", "1", *SMALL, "-o", url), url, "cannot be written")


@pytest.mark.parametrize("name", ["x.csv", "x.npy", "x.csv.gz"])
def test_an_input_that_is_cut_gives_no_output(run_rnn: Rnn, web: Web, s3: S3, name: str) -> None:
    content = b"".join(b"%d\n" % n for n in range(50_000))
    if name.endswith(".gz"):
        content = gzip.compress(content)
    url = web.show(name, Page(content, cut_at=len(content) // 2))
    s3.put("y", b"old")
    refused(run_rnn("run", url, *SMALL, "-o", s3.url("y")), url, "")
    assert s3.objects() == {"y": b"old"}


def test_an_input_that_changes_while_it_is_read_gives_no_output(
    run_rnn: Rnn, s3: S3, large: Path
) -> None:
    url = s3.put("x.npy", large.read_bytes())

    def change(method: str, name: str) -> None:
        if (method, name) == ("GET", "x.npy"):
            s3.before = None
            s3.put("x.npy", large.read_bytes()[:-1] + b"1")

    s3.before = change
    refused(run_rnn("run", url, "--hidden", "1", "-o", s3.url("y.npy")), url, "")
    assert [*s3.objects()] == ["x.npy"]


def test_compressed_text_is_read_as_it_is(run_rnn: Rnn, web: Web) -> None:
    """Whatever the server calls it: a file that is cut shows that by its own end."""
    content = gzip.compress(b"v\n1\n2\n")
    urls = [
        web.show(f"{n}.csv.gz", Page(content[:n], encoding="gzip"))
        for n in (len(content), len(content) - 1)
    ]
    whole = run_rnn("run", urls[0], *SMALL)
    assert (whole.exit_code, whole.stdout) == (0, run_rnn("run", "--seq", "1,2", *SMALL).stdout)
    cut = run_rnn("run", urls[1], *SMALL)
    assert (cut.exit_code, cut.stderr.count("\n")) == (2, 1)


def test_a_secret_in_a_url_is_not_shown(run_rnn: Rnn, web: Web, tmp_path: Path) -> None:
    shown = web.put("x.csv", b"v\n1\n2\n")
    url = shown.replace("//", "//user:word@") + "?X-Amz-Signature=signed"
    done = run_rnn("run", url, "--group-by", "v", "--columns", "v", *SMALL)
    assert web.asked == [("GET", "/x.csv?X-Amz-Signature=signed")]
    assert web.authorizations == ["Basic dXNlcjp3b3Jk"]
    other = web.put("z.csv", b"v\n1\n")
    several = run_rnn("run", url, f"{other}?word", *SMALL, "--last")
    assert [line.split(",")[0] for line in several.stdout.splitlines()] == ["file", shown, other]
    batch = ("batch", "-j", "1", url, "-o", f"{tmp_path}/{{stem}}.csv", "--hidden", "1")
    batches = [run_rnn(*batch), run_rnn(*(word.replace("signed", "anew") for word in batch))]
    assert [counts(each) for each in batches] == [(1, 0, 0), (0, 1, 0)]
    failed = [
        run_rnn("run", "--seq", "1", "--weights", url),
        run_rnn("run", url.replace("x.csv", "y.csv"), *SMALL),
        run_rnn("run", web.show("z", Page(b"", 302, location="/z?signed")) + "?signed", *SMALL),
    ]
    assert [each.exit_code for each in failed] == [2, 2, 2]
    report = (tmp_path / "rnn-batch.jsonl").read_text()
    for text in (report, *(each.output for each in (done, several, *batches, *failed))):
        assert not re.search("word|signed|anew", text)


def counts(done: Result) -> tuple[int, ...]:
    """The tasks of a batch that are done, skipped and failed."""
    return tuple(map(int, re.findall(r"(\d+) (?:done|skipped|failed)", done.stderr)))


@pytest.fixture
def batch(run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_rnn("batch", "-j", "1", *arguments, "--hidden", "1")


@WRITABLE
def test_a_batch_does_what_is_new(batch: Callable[..., Result], run_rnn: Rnn, store: Any) -> None:
    names = [f"in/{n}.csv" for n in range(9)] + ["in/deep/9.csv"]
    for name in (*names, "in/x.txt"):
        store.put(name, b"1\n2\n")
    command = (store.url("in/**/*.csv"), "-o", store.url("out/{stem}.csv"))
    assert counts(batch(*command)) == (10, 0, 0)
    outputs = [f"out/{n}.csv" for n in range(10)]
    assert [name for name in store.objects() if name.startswith("out")] == outputs
    expected = run_rnn("run", "--seq", "1,2", *SMALL).stdout_bytes
    assert {store.objects()[name] for name in outputs} == {expected}
    store.asked.clear()
    assert counts(batch(*command)) == (0, 10, 0)
    assert len(store.asked) < 10  # a list of each folder
    store.put("in/3.csv", b"1\n3\n")
    assert counts(batch(*command)) == (1, 9, 0)
    single = (store.url("in/3.csv"), *command[1:])
    assert counts(batch(*single)) == (0, 1, 0)
    store.put("in/3.csv", b"1\n4\n")
    assert counts(batch(*single)) == (1, 0, 0)


# What a command says in a process of its own, to its very end.
ENDS = {
    "done": ("WEB/x.csv -o S3/y.csv --state S3/s", 0, ""),
    "cut": ("WEB/cut.csv -o S3/y.csv", 2, "Error: WEB/cut.csv: "),
    "refused": ("--seq 1 -o gs://mine/y", 1, "Error: gs://mine/y: HttpError: no, 400\n"),
}


@pytest.mark.parametrize(("run", "code", "start"), ENDS.values(), ids=ENDS)
def test_a_process_says_one_line_or_nothing(
    s3: S3, google: Google, web: Web, run: str, code: int, start: str
) -> None:
    web.put("x.csv", b"1\n2\n")
    web.show("cut.csv", Page(b"1\n2\n3\n", cut_at=4))
    google.before = lambda method, _: 400 if method == "PUT" else None

    def placed(text: str) -> str:
        """Name places as people do, in capitals too."""
        return text.replace("S3/", f"S3{s3.root[2:]}").replace("WEB/", f"HTTP{web.root[4:]}")

    command = [sys.executable, "-W", "default", "-m", "rnncli", "run", *placed(run).split(), *SMALL]
    environ = os.environ | {"FSSPEC_GS_TOKEN": "anon", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert (done.returncode, done.stderr.count("\n")) == (code, bool(start)), done.stderr
    assert done.stderr.startswith(start.replace("WEB/", web.root))
    assert s3.objects().keys() == ({"y.csv", "s"} if code == 0 else set())
