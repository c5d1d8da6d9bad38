"""Which names are URLs, what is shown of them, and what needs no extra to be told."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Rnn

from rnncli.storage import exists, is_url, named, version
from rnncli.storage.url import Url

NETWORK = ("--hidden", "1", "--format", "csv")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("s3://bucket/x.csv", True),
        ("S3://bucket/x.csv", True),
        ("https://host/x.csv", True),
        ("git+ssh://host/x", True),
        ("x.csv", False),
        ("-", False),
        ("s3:/x.csv", False),
        ("./s3://x.csv", False),
        ("://x.csv", False),
        ("a b://x.csv", False),
        ("", False),
    ],
)
def test_names_that_are_urls(name: str, *, is_one: bool) -> None:
    assert is_url(name) is is_one
    assert isinstance(named(name), Url) is is_one


@pytest.mark.parametrize(
    ("full", "shown"),
    [
        ("s3://bucket/a/x.csv", "s3://bucket/a/x.csv"),
        ("s3://bucket/a?b#c@d.csv", "s3://bucket/a?b#c@d.csv"),
        ("https://host:80/a/x.csv", "https://host:80/a/x.csv"),
        ("https://user:word@host/x.csv", "https://host/x.csv"),
        ("https://user:w@rd@host:80/x.csv", "https://host:80/x.csv"),
        ("https://token@host/x.csv", "https://host/x.csv"),
        ("https://host/x.csv?X-Amz-Signature=1", "https://host/x.csv"),
        ("https://host/a@b/x.csv?c@d/e", "https://host/a@b/x.csv"),
        ("HTTPS://user:word@host?a=b", "HTTPS://host"),
        ("https://host/x.csv#secret", "https://host/x.csv"),
        ("ftp://user:word@host/x?y", "ftp://host/x?y"),
        ("https://", "https://"),
    ],
)
def test_what_is_shown_of_a_url(full: str, shown: str) -> None:
    url = Url(full)
    assert (url, url.full, str(url), f"{url}") == (shown, full, shown, shown)
    assert repr(url) == repr(shown)
    assert named(url) is url
    for again in (copy.copy(url), copy.deepcopy(url), pickle.loads(pickle.dumps(url))):
        assert (again, again.full, again.protocol) == (shown, full, url.protocol)


def test_versions_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert (version(str(path)), exists(str(path))) == ("", False)
    path.write_text("12345")
    first = version(str(path))
    assert first == version(str(path)) == f"5 {path.stat().st_mtime_ns}"
    assert exists(str(path))
    os.utime(path, ns=(0, 1))
    assert version(str(path)) == "5 1"


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (("s3://a/x.csv",), "Error: --follow and s3://a/x.csv: it does not grow; "),
        (("x.csv", "-o", "s3://a/y.csv"), "Error: s3://a/y.csv: rows cannot be added to it; "),
    ],
)
def test_nothing_elsewhere_is_followed(run_rnn: Rnn, run: tuple[str, ...], reason: str) -> None:
    done = run_rnn("run", *run, "--follow", *NETWORK)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(reason)


@pytest.mark.parametrize(
    "run",
    [
        ("run", "s3://a/b"),
        ("run", "x.csv", "s3://a/b"),
        ("run", "--seq", "x", "-o", "s3://a/b"),
        ("run", "--seq", "x", "--state", "s3://a/b"),
        ("run", "--seq", "x", "--state-in", "s3://a/b"),
        ("run", "--seq", "x", "--state-out", "s3://a/b"),
        ("weights", "-o", "s3://a/b"),
    ],
)
def test_what_is_to_be_installed_is_told_before_anything_is_read(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("1\n")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    url = "s3://a/b" if "run" in run else "s3://a/b.npz"
    done = run_rnn(*(url if word == "s3://a/b" else word for word in run), "--hidden", "1")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"Error: {url}: fsspec is not installed: pip install 'rnncli[remote]'\n"


@pytest.mark.slow
def test_nothing_of_it_is_imported_without_a_url(tmp_path: Path) -> None:
    log = tmp_path / "x.csv"
    log.write_text("1\n2\n")
    code = "import sys; from rnncli.cli import rnn; rnn(sys.argv[1:], standalone_mode=False); "
    code += "print(sorted({'fsspec', 'rnncli.storage.remote', 'asyncio'} & set(sys.modules)))"
    run = ("run", str(log), *NETWORK, "-o", str(tmp_path / "y"), "--state", str(tmp_path / "s"))
    done = subprocess.run(
        [sys.executable, "-c", code, *run], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
