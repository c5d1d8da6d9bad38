"""The page of `rnn explain`, without a browser: what stands in it, and what it needs."""

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Rnn
from explained_networks import CASES, HOSTILE, command_of, written

PARTS = {path.suffix: path.read_text() for path in (ROOT / "rnncli" / "explanation").glob("page.*")}


def unpacked(page: str) -> dict[str, Any]:
    """The document in a page."""
    found = re.search(r'id="data">([^<]*)<', page)
    assert found
    document: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return document


@pytest.mark.parametrize("name", CASES)
def test_every_number_of_the_document_is_in_the_page(
    name: str, run_rnn: Rnn, tmp_path: Path
) -> None:
    page, document = written(run_rnn, command_of(CASES[name], tmp_path), tmp_path)
    assert unpacked(page.read_text())["steps"] == [{"key": {}, **s} for s in document["steps"]]


def test_the_page_needs_nothing_else(run_rnn: Rnn, tmp_path: Path) -> None:
    path, _ = written(run_rnn, command_of(CASES["vanilla"], tmp_path), tmp_path)
    page = path.read_text()
    assert not re.search(r"https?:|src\s*=|@import|url\(|\bfetch\(|XMLHttpRequest|import\(", page)
    assert re.findall(r'href="([^"]*)"', page) == ["data:,"]
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'" in policy
    for tag, kind in (("style", ".css"), ('script type="module"', ".js")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag.split()[0]}>", page, re.DOTALL)
        assert text == PARTS[kind]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag.split()[0]}-src 'sha256-{digest}'" in policy


def test_names_are_text(run_rnn: Rnn, tmp_path: Path) -> None:
    data, path = tmp_path / "data.csv", tmp_path / "page.html"
    data.write_text(f"key,<b>&\n{HOSTILE},1\nother,2\n")
    command = ("explain", data, "--columns", "<b>&", "--group-by", "key", "--hidden", "2")
    result = run_rnn(*command, "-o", path)
    assert result.exit_code == 0, result.output
    page = path.read_text()
    assert "(&lt;b&gt;&amp;)" in page
    assert "hacked" not in page
    assert "<b>" not in page
    shown = unpacked(page)
    key = shown["steps"][0]["key"]["key"]
    assert key.startswith("</script>")
    assert not re.search("[\x00-\x1f\u202e]", key)


def test_too_many_steps_are_refused_before_any_is_computed(run_rnn: Rnn, tmp_path: Path) -> None:
    """A million numbers are 500 steps of 166 units; the second step overflows."""
    data = tmp_path / "x.csv"
    data.write_text("1\n" + "1000\n" * 2999)
    overflows = (data, "--hidden", "166", "--activation", "exponential")
    for steps in ((), ("--steps", "1:3000"), ("--steps", "1:")):
        result = run_rnn("explain", *overflows, *steps, "-o", tmp_path / "page.html")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "--steps" in result.stderr


@pytest.mark.parametrize(
    ("unit", "expected"), [("6", [2, 1, 2]), ("layer_1_h_1", [1, 0, 1]), ("y_1", [3, 0, 1])]
)
def test_the_page_opens_at_a_unit(
    unit: str, expected: list[int], run_rnn: Rnn, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    command = command_of(CASES["gru, both directions, head"], tmp_path)
    result = run_rnn(*command, "--unit", unit, "-o", path)
    assert result.exit_code == 0, result.output
    assert unpacked(path.read_text())["unit"] == expected
