"""A batch from and to S3: what ``rnn run`` makes, resumed, with a list for each folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from batch_runs import counted
from click.testing import Result
from conftest import SAMPLES, Rnn

from extras.conftest import S3, Page, Web
from rnncli.storage import matching, version, versions

SUNSPOTS = (SAMPLES / "sunspots.csv").read_bytes()
NETWORK = ("--columns", "2", "--hidden", "3")


@pytest.fixture(name="batch")
def in_a_folder(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    return lambda *given: run_rnn("batch", "-j", "1", *given, *NETWORK)


@pytest.mark.slow
def test_a_batch_is_resumed(
    batch: Callable[..., Result], run_rnn: Rnn, s3: S3, tmp_path: Path
) -> None:
    for name in ("in/s2.csv", "in/s10.csv", "in/deep/s1.csv", "in/x.txt"):
        s3.put(name, SUNSPOTS)
    command = (s3.url("in/**/*.csv"), "-o", s3.url("out/{dir}/{stem}.csv"))
    assert counted(batch(*command)) == (3, 0, 0, 0)
    folder = f"out/{s3.bucket}/in"
    outputs = [name for name in s3.names() if name.startswith("out")]
    assert outputs == [f"{folder}/deep/s1.csv", f"{folder}/s10.csv", f"{folder}/s2.csv"]
    (tmp_path / "x.csv").write_bytes(SUNSPOTS)
    run_rnn("run", tmp_path / "x.csv", *NETWORK, "-o", tmp_path / "y.csv")
    assert (tmp_path / "rnn-batch.jsonl").exists()
    assert {s3.get(name) for name in outputs} == {(tmp_path / "y.csv").read_bytes()}
    assert counted(batch(*command)) == (0, 3, 0, 0)
    s3.put("in/s10.csv", SUNSPOTS + b"2009,1\n")
    s3.client.delete_object(Bucket=s3.bucket, Key=outputs[0])
    assert counted(batch(*command)) == (2, 1, 0, 0)
    assert counted(batch(*command)) == (0, 3, 0, 0)


@pytest.mark.slow
def test_many_files_are_listed_at_once(batch: Callable[..., Result], s3: S3) -> None:
    for number in range(20):
        s3.put(f"in/{number}.csv", SUNSPOTS)
    command = (s3.url("in/*.csv"), "-o", s3.url("out/{stem}.csv"))
    assert counted(batch(*command)) == (20, 0, 0, 0)
    s3.asked.clear()
    assert counted(batch(*command)) == (0, 20, 0, 0)
    assert len(s3.asked) < 10


def test_a_list_says_the_same_as_a_file(s3: S3) -> None:
    url = s3.put("in/a.csv", SUNSPOTS)
    (about,) = (versions(s3.url("in")) or {}).values()
    assert about == version(url) != ""
    assert versions(s3.url("none")) == {}
    s3.put("in/a.csv", b"1\n")
    assert versions(s3.url("in")) == {"a.csv": version(url)} != {"a.csv": about}
    assert matching(s3.url("i?/*.csv")) == [url]
    s3.put("in/b.csv", b"1\n")
    assert matching(s3.url("i?/*.csv")) == [url, s3.url("in/b.csv")]


def test_a_name_that_could_be_a_pattern(s3: S3) -> None:
    for name in ("a[1].csv", "ab.csv", "a?.csv"):
        s3.put(name, b"1\n")
    for name in ("a[1].csv", "a?.csv"):
        assert matching(s3.url(name)) == [s3.url(name)]
    assert matching(s3.url("a[0].csv")) == []


def test_nothing_is_there(batch: Callable[..., Result], s3: S3) -> None:
    result = batch(s3.url("in/*.csv"), "-o", s3.url("out/{stem}.csv"))
    assert (result.exit_code, result.stderr) == (
        2,
        f"Error: {s3.url('in/*.csv')}: matches no file\n",
    )
    result = batch(s3.url("in/a.csv"), s3.url("in/b.csv"), "-o", s3.url("out/{stem}.csv"))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {s3.url('in/a.csv')}: cannot be read: no such file\n")


@pytest.mark.slow
def test_the_secret_of_a_web_page_is_not_reported(
    batch: Callable[..., Result], web: Web, tmp_path: Path
) -> None:
    url = web.put("in/a.csv", Page(SUNSPOTS))
    output = str(tmp_path / "{stem}.csv")
    assert counted(batch(f"{url}?key=unseen", "-o", output)) == (1, 0, 0, 0)
    assert (tmp_path / "a.csv").exists()
    assert "unseen" not in (tmp_path / "rnn-batch.jsonl").read_text()
    assert counted(batch(f"{url}?key=another", "-o", output)) == (0, 1, 0, 0)
