"""Names that are URLs, and how they are shown."""

import copy
import pickle
import sys
from types import SimpleNamespace

import pytest
from conftest import Rnn

from rnncli.storage import Url, is_url, wrap_url

URLS = ("S3://bucket/x.csv", "https://host/x.csv", "git+ssh://host/x")
OTHERS = ("x.csv", "-", "s3:/x.csv", "./s3://x.csv", "://x.csv", "a b://x.csv", "")


@pytest.mark.parametrize("name", [*URLS, *OTHERS])
def test_names_that_are_urls(name: str) -> None:
    assert is_url(name) is isinstance(wrap_url(name), Url) is (name in URLS)


@pytest.mark.parametrize(
    ("full", "shown"),
    [
        ("s3://bucket/a?b#c@d.csv", "s3://bucket/a?b#c@d.csv"),
        ("https://user:w@rd@host:80/x.csv", "https://host:80/x.csv"),
        ("https://host/x.csv?X-Amz-Signature=1", "https://host/x.csv"),
        ("HTTPS://user:word@host?a=b", "https://host"),
        ("https://host/x.csv#secret", "https://host/x.csv"),
        ("ftp://user:word@host/x?y", "ftp://host/x?y"),
        ("ftp://host/x.csv?pw=word&y", "ftp://host/x.csv"),
        ("s3://user:word@bucket/x.csv?X-Amz-Security-Token=word", "s3://bucket/x.csv"),
        ("s3://bucket/year=202?/month=1?.csv", "s3://bucket/year=202?/month=1?.csv"),
        ("https://", "https://"),
    ],
)
def test_secrets_of_a_url_are_not_shown(full: str, shown: str) -> None:
    url = Url(full)
    assert (url, str(url), f"{url}") == (shown, shown, shown)
    assert url.full == full.replace("HTTPS", "https")
    assert repr(url) == repr(shown)
    assert wrap_url(url) is url
    for again in (copy.copy(url), copy.deepcopy(url), pickle.loads(pickle.dumps(url))):
        assert (again, again.full, again.protocol) == (shown, url.full, url.protocol)


def test_no_url_is_appended_to(run_rnn: Rnn) -> None:
    done = run_rnn("run", "x.csv", "-o", "s3://a/y.csv", "--follow", "--hidden", "1")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_an_error_of_a_store_shows_no_secret(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own message repeats what it was given, with and without the protocol."""

    def refuse(url: str, **_: object) -> None:
        raise ValueError(f"{url}: no bucket {url.partition('://')[2]!r}")

    fsspec = SimpleNamespace(core=SimpleNamespace(url_to_fs=refuse))
    monkeypatch.setitem(sys.modules, "fsspec", fsspec)
    done = run_rnn("run", "s3://user:word@bucket/x?token=signed", "--hidden", "1")
    shown = "Error: s3://bucket/x: ValueError: s3://bucket/x no bucket '...@bucket/x...'\n"
    assert (done.exit_code, done.stderr) == (2, shown)
