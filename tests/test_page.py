"""The page of `rnn explain`, without a browser: what stands in it, and what it needs."""

import base64
import hashlib
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Rnn
from page_cases import CASES, HOSTILE, command_of, dtype_of, written

from rnncli.explain.page import write_page

PARTS = {path.suffix: path.read_text() for path in (ROOT / "rnncli" / "explain").glob("page.*")}


def unpacked(page: str) -> dict[str, Any]:
    """The document in a page, its numbers being arrays."""
    found = re.search(r'id="numbers" data-bytes="(\d)">([^<]*)<', page)
    assert found
    size = int(found[1])
    planes = np.frombuffer(zlib.decompress(base64.b64decode(found[2])), np.uint8)
    numbers = np.ascontiguousarray(planes.reshape(size, -1).T).view(f"<f{size}")[:, 0]
    steps = re.search(r'id="steps">([^<]*)<', page)
    assert steps

    def placed(item: dict[str, Any]) -> Any:
        return numbers[item["at"] :][: item["n"]] if item.keys() == {"at", "n"} else item

    document: dict[str, Any] = json.loads(
        zlib.decompress(base64.b64decode(steps[1])), object_hook=placed
    )
    return document


def completed(quantity: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """A quantity with the products and the sum that the page computes."""
    for term in quantity["terms"]:
        if "values" not in term:
            left, right = (named[name] for name in term["name"].split(" "))
            term["values"] = left * right
        term.pop("left", None)
    if "function" in quantity and "sum" not in quantity:
        first, *others = (term["values"] for term in quantity["terms"])
        quantity["sum"] = sum(others, first)
    named[quantity["name"]] = quantity["values"]
    return quantity


def same(part: Any, other: Any, dtype: Any) -> bool:
    """Whether a part of a page is that of a document, to the bit."""
    if isinstance(other, dict):
        assert part.keys() == other.keys()
        return all(same(part[name], other[name], dtype) for name in other)
    if isinstance(part, np.ndarray):
        return part.tobytes() == np.asarray(other, dtype).tobytes()
    if isinstance(other, list):
        return len(part) == len(other) and all(
            same(one, another, dtype) for one, another in zip(part, other, strict=True)
        )
    return bool(part == other)


@pytest.mark.parametrize("name", CASES)
def test_every_number_of_the_document_is_in_the_page(
    name: str, run_rnn: Rnn, tmp_path: Path
) -> None:
    page, document = written(run_rnn, command_of(CASES[name], tmp_path), tmp_path)
    steps = unpacked(page.read_text())["steps"]
    for step in steps:
        for layer in step["layers"]:
            for cell in layer["cells"]:
                before = "t+1" if cell.get("direction") == "backward" else "t-1"
                named = {f"{n}_{{{before}}}": array for n, array in cell.get("state", {}).items()}
                cell["quantities"] = [completed(each, named) for each in cell["quantities"]]
    assert steps
    assert same(steps, document["steps"], dtype_of(document))


def test_what_does_not_follow_is_kept(run_rnn: Rnn, tmp_path: Path) -> None:
    """A sum or a product is left out only where the page computes each of its bits."""
    _, document = written(run_rnn, command_of(CASES["lstm"], tmp_path), tmp_path)
    (cell,) = document["steps"][2]["layers"][0]["cells"]
    named = {quantity["name"]: quantity for quantity in cell["quantities"]}
    total, product = named["g_t"]["sum"], named["c_t"]["terms"][0]["values"]
    total[1] = float(np.nextafter(np.float32(total[1]), np.float32(9)))
    product[2] = -product[2]
    out = io.StringIO()
    write_page(out, document, CASES["lstm"].network)
    (shown,) = unpacked(out.getvalue())["steps"][2]["layers"][0]["cells"]
    kept = {quantity["name"]: quantity for quantity in shown["quantities"]}
    assert same(kept["g_t"]["sum"], total, np.float32)
    assert same(kept["c_t"]["terms"][0]["values"], product, np.float32)
    assert "sum" not in kept["i_t"]
    assert "values" not in kept["c_t"]["terms"][1]


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


def test_the_page_is_small(run_rnn: Rnn, tmp_path: Path) -> None:
    """200 steps of 16 units, at the worst: numbers of which none follows from another."""
    rows = np.random.default_rng(5).normal(size=(200, 3))
    data, path = tmp_path / "data.npy", tmp_path / "page.html"
    np.save(data, rows)
    result = run_rnn("explain", data, "--hidden", "16", "--cell", "lstm", "-o", path)
    assert result.exit_code == 0, result.output
    assert path.stat().st_size < 300_000
    assert len(unpacked(path.read_text())["steps"]) == 200


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
    """4 MB are 2,000 steps of 166 units; the second step overflows."""
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
def test_the_page_is_told_a_unit(
    unit: str, expected: list[int], run_rnn: Rnn, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    command = command_of(CASES["gru, both directions, head"], tmp_path)
    result = run_rnn(*command, "--unit", unit, "-o", path)
    assert result.exit_code == 0, result.output
    assert unpacked(path.read_text())["unit"] == expected
