"""Files elsewhere are read and written as files of this machine are."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLES, Rnn
from pyarrow import parquet
from pyarrow.csv import read_csv

from extras.conftest import S3, Page, Web
from rnncli.storage import opened, remote, version

SUNSPOTS = (SAMPLES / "sunspots.csv").read_bytes()
PLAIN = ("--hidden", "1", "--format", "csv")
NETWORK = ("--columns", "2", "--center", "50", "--scale", "40", "--hidden", "3")
WEIGHTS = str(SAMPLES / "sunspots.keras")


def as_npy(content: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, np.loadtxt(io.BytesIO(content), delimiter=",", skiprows=1))
    return file.getvalue()


def as_parquet(content: bytes) -> bytes:
    file = io.BytesIO()
    parquet.write_table(read_csv(io.BytesIO(content)), file, row_group_size=100)
    return file.getvalue()


FORMS = {
    "csv": SUNSPOTS,
    "csv.gz": gzip.compress(SUNSPOTS),
    "tsv": SUNSPOTS.replace(b",", b"\t"),
    "npy": as_npy(SUNSPOTS),
    "parquet": as_parquet(SUNSPOTS),
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some KB are read in several pieces."""
    monkeypatch.setattr(remote, "_PIECE", 1 << 10)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["s3", "web"])
@pytest.mark.parametrize("form", FORMS)
def test_inputs_are_those_of_files(
    run_rnn: Rnn, s3: S3, web: Web, tmp_path: Path, form: str, place: str
) -> None:
    name, content = f"x.{form}", FORMS[form]
    (tmp_path / name).write_bytes(content)
    url = s3.put(name, content) if place == "s3" else web.put(name, Page(content))
    here = run_rnn("run", tmp_path / name, *NETWORK, "--format", "csv")
    there = run_rnn("run", url, *NETWORK, "--format", "csv")
    assert (there.exit_code, there.stderr) == (0, "")
    assert there.stdout == here.stdout
    assert there.stdout.count("\n") == 310


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "npy", "svg", "png", "parquet", "arrow"])
def test_outputs_are_those_of_files(run_rnn: Rnn, s3: S3, tmp_path: Path, form: str) -> None:
    run = ("run", SAMPLES / "sunspots.csv", *NETWORK, "-o")
    assert run_rnn(*run, tmp_path / f"y.{form}").exit_code == 0
    done = run_rnn(*run, s3.url(f"y.{form}"))
    assert (done.exit_code, done.output) == (0, "")
    assert s3.get(f"y.{form}") == (tmp_path / f"y.{form}").read_bytes()
    assert s3.names() == [f"y.{form}"]


@pytest.mark.slow
def test_an_output_of_many_parts(
    run_rnn: Rnn, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PART", 5 << 20)  # S3 takes no smaller ones
    rows = tmp_path / "x.npy"
    np.save(rows, np.zeros(400_000, np.float32))
    run = ("run", rows, "--hidden", "8", "-o")
    assert run_rnn(*run, tmp_path / "y.npy").exit_code == 0
    assert run_rnn(*run, s3.url("y.npy")).exit_code == 0
    parts = [path for method, path in s3.asked if method == "PUT"]
    assert len(parts) == 3
    assert s3.get("y.npy") == (tmp_path / "y.npy").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["s3", "web"])
def test_weights_are_those_of_a_file(run_rnn: Rnn, s3: S3, web: Web, place: str) -> None:
    content = Path(WEIGHTS).read_bytes()
    name = "sunspots.keras"
    url = s3.put(name, content) if place == "s3" else web.put(name, Page(content))
    for command in (
        ("run", SAMPLES / "sunspots.csv", "--columns", "2", "--json", "--weights"),
        ("explain", SAMPLES / "sunspots.csv", "--columns", "2", "--step", "3", "--weights"),
        ("weights", "--json", "--weights"),
        ("inspect",),
        ("inspect", "--json"),
    ):
        here, there = run_rnn(*command, WEIGHTS), run_rnn(*command, url)
        assert (there.exit_code, there.stderr) == (0, here.stderr.replace(WEIGHTS, url))
        # A table is as wide as a name needs.
        assert there.stdout.split() == here.stdout.replace(WEIGHTS, url).split()


@pytest.mark.slow
def test_verify_reads_all_of_it_elsewhere(run_rnn: Rnn, s3: S3) -> None:
    log, weights = s3.put("x.csv", SUNSPOTS), s3.put("w.keras", Path(WEIGHTS).read_bytes())
    run = ("--columns", "2", "--weights", weights)
    for form in ("csv", "npy", "json", "jsonl"):
        expected = s3.url(f"y.{form}")
        assert run_rnn("run", log, *run, "-o", expected).exit_code == 0
        done = run_rnn("verify", log, *run, "--expected", expected, "--json")
        assert done.exit_code == 0, done.stderr
        first, *_ = json.loads(done.stdout)["results"]
        assert first["name"] == expected


@pytest.mark.slow
def test_states_go_on_elsewhere(run_rnn: Rnn, s3: S3, tmp_path: Path) -> None:
    """Two halves, each in the state of the one before: as one run over both."""
    header, *rows = SUNSPOTS.splitlines(keepends=True)
    halves = [s3.put(f"{n}.csv", header + b"".join(rows[n::2])) for n in (0, 1)]
    whole = tmp_path / "whole.csv"
    whole.write_bytes(header + b"".join(rows[0::2] + rows[1::2]))
    run = (*NETWORK, "--unroll", "stepwise", "--format", "csv")
    parts = [run_rnn("run", half, *run, "--state", s3.url("s.npz")) for half in halves]
    assert [part.exit_code for part in parts] == [0, 0]
    name, *first = parts[0].stdout.splitlines()
    _, *second = parts[1].stdout.splitlines()
    assert [name, *first, *second] == run_rnn("run", whole, *run).stdout.splitlines()
    apart = run_rnn(
        "run", halves[1], *run, "--state-in", s3.url("s.npz"), "--state-out", tmp_path / "s"
    )
    assert apart.exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("request_before", ["GET x.csv", "PUT s.npz"])
def test_a_state_that_another_run_changed_is_left(
    run_rnn: Rnn, s3: S3, request_before: str, *, there: bool
) -> None:
    """Also where the other run leaves its state while this one is putting its own."""
    run = (*NETWORK, "--format", "csv", "--state", s3.url("s.npz"))
    log = s3.put("x.csv", SUNSPOTS)
    if there:
        assert run_rnn("run", log, *run).exit_code == 0

    def change(environ: dict[str, object]) -> None:
        method, name = request_before.split()
        if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == (method, f"/{s3.bucket}/{name}"):
            s3.before = None
            s3.put("s.npz", b"another")

    s3.before = change
    done = run_rnn("run", log, *run)
    assert (done.exit_code, done.stdout.count("\n")) == (1, 310)
    reason = "changed by another program since this run has read it"
    assert done.stderr.startswith(f"Error: {s3.url('s.npz')}: {reason}")
    assert s3.get("s.npz") == b"another"


@pytest.mark.slow
def test_files_are_a_sequence_each(run_rnn: Rnn, s3: S3) -> None:
    urls = [s3.put(f"{n}.csv", SUNSPOTS) for n in (1, 2)]
    done = run_rnn("run", *urls, *NETWORK, "--last", "--format", "csv")
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["file", *urls]


@pytest.mark.slow
def test_center_is_found_in_a_first_reading(run_rnn: Rnn, s3: S3) -> None:
    found = ("--columns", "2", "--center", "auto", "--scale", "auto", "--hidden", "2", "--json")
    here = run_rnn("run", SAMPLES / "sunspots.csv", *found)
    there = run_rnn("run", s3.put("x.csv", SUNSPOTS), *found)
    assert (there.exit_code, there.output) == (0, here.output)


@pytest.mark.slow
def test_text_is_read_as_it_comes(run_rnn: Rnn, web: Web) -> None:
    """The fault is found long before the end of what would be sent."""
    url = web.put("x.csv", Page(b"v\n1\nx\n" + b"1\n" * 50_000_000))
    done = run_rnn("run", url, "--hidden", "1", "--format", "csv")
    assert (done.exit_code, done.stdout.count("\n")) == (2, 2)
    assert done.stderr.startswith(f"Error: {url}:3: column 'v': not a number: 'x'")
    assert [method for method, *_ in web.asked] == ["GET"]
    assert 0 < web.sent < 50_000_000


def test_some_of_an_object_is_asked_for(s3: S3) -> None:
    url = s3.put("x.csv", SUNSPOTS * 10)
    with opened(url) as file:
        assert file.readline() == SUNSPOTS.split(b"\n")[0] + b"\n"
        with opened(url, seekable=True) as other:
            other.seek(-5, io.SEEK_END)
            assert other.read() == SUNSPOTS[-5:]


def test_a_page_is_read_out_of_order(web: Web) -> None:
    url = web.put("x", Page(bytes(range(250)) * 2000))
    with opened(url, seekable=True) as file:
        assert (file.seek(-3, io.SEEK_END), file.read()) == (499_997, bytes([247, 248, 249]))
        assert (file.seek(2), file.read(2)) == (2, bytes([2, 3]))


def test_what_is_compressed_is_read_as_it_is(run_rnn: Rnn, web: Web) -> None:
    """Whatever the server calls it: a file that is cut is told by its own end."""
    content = gzip.compress(b"v\n1\n2\n")
    whole, cut = (
        run_rnn("run", web.put(f"{n}.csv.gz", Page(content[:n], encoding="gzip")), *PLAIN)
        for n in (len(content), len(content) - 1)
    )
    of_text = run_rnn("run", "--seq", "1,2", *PLAIN)
    assert (whole.exit_code, whole.stdout) == (0, of_text.stdout)
    assert (cut.exit_code, cut.stderr.count("\n")) == (2, 1)


def test_a_protocol_in_capitals(run_rnn: Rnn, s3: S3, web: Web) -> None:
    page = web.put("x.csv", Page(b"v\n1\n"))
    done = run_rnn("run", page.replace("http", "HTTP"), *PLAIN, "-o", f"S3{s3.url('y')[2:]}")
    assert (done.exit_code, done.stderr) == (0, "")
    assert s3.get("y") == run_rnn("run", "--seq", "1", *PLAIN).stdout_bytes


def test_versions_tell_contents_apart(s3: S3) -> None:
    url = s3.put("x", b"one")
    first = version(url)
    assert first.startswith("3 ")
    assert version(url) == first
    s3.put("x", b"two")
    assert version(url) not in ("", first)
    assert version(s3.url("y")) == ""


def test_a_store_in_memory(run_rnn: Rnn) -> None:
    url = "memory://folder/y.csv"
    assert run_rnn("run", "--seq", "1,2", "--hidden", "1", "-o", url).exit_code == 0
    done = run_rnn("run", url, "--columns", "h_0", "--hidden", "1", "--format", "csv")
    assert done.stdout.count("\n") == 3
    assert version(url)


def test_what_is_secret_in_a_url_is_not_shown(run_rnn: Rnn, web: Web) -> None:
    shown = web.put("x.csv", Page(b"v\n1\n2\n"))
    url = shown.replace("//", "//user:word@") + "?X-Amz-Signature=signed"
    done = run_rnn("run", url, "--hidden", "1", "--group-by", "v", "--columns", "v", "--json")
    assert done.exit_code == 0
    ((_, path, authorization),) = web.asked
    assert (path, authorization) == ("/x.csv?X-Amz-Signature=signed", "Basic dXNlcjp3b3Jk")
    several = run_rnn("run", url, f"{shown}?other", "--hidden", "1", "--format", "csv")
    weights = run_rnn("run", "--seq", "1", "--weights", url)
    missing = run_rnn("run", url.replace("x.csv", "y.csv"), "--hidden", "1")
    for each in (done, several, weights, missing):
        assert "word" not in each.output
        assert "signed" not in each.output
    assert shown in weights.stderr
    assert missing.stderr == (
        f"Error: {shown.replace('x.csv', 'y.csv')}: cannot be read: no such file\n"
    )
