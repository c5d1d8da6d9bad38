"""The guide's examples in Python, its links and its length."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GUIDE, ROOT, TOPICS
from transcripts import NUMBER, is_same


@pytest.mark.posix("links for every user")
def test_python_examples(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    notebook: dict[str, Any],
    tmp_path: Path,
) -> None:
    whole, trained, streamed, scored = re.findall(
        r"```python\n(.*?)```", GUIDE["python"], re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(whole, names)
    printed = np.array(NUMBER.findall(capsys.readouterr().out.replace("1. ", "1.0 ")), float)
    # The notebook's states within the rounding of TF32, 10 bits.
    np.testing.assert_allclose(printed.reshape(6, 4), notebook["cell_6"], rtol=0, atol=2**-11)
    last = names["states"].h[2:5]
    monkeypatch.chdir(ROOT)
    exec(trained, names)
    np.testing.assert_array_equal(names["states"].y[-1], names["states"].y_n)
    exec(streamed, names)
    np.testing.assert_allclose(names["block"].h, last, rtol=0, atol=1e-6)
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    exec(scored, names)
    assert (tmp_path / "states.csv").read_text().startswith("t,h_0,h_1,h_2,h_3\n1,")


def test_the_readme_runs_from_python(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE["README"], re.DOTALL)
    output = code.partition("  # ")[2]
    monkeypatch.chdir(ROOT)
    exec(code, {})
    assert is_same(capsys.readouterr().out, output)


def test_the_readme_leads_to_every_topic() -> None:
    links = re.findall(r"\((rnncli/cli/topics/[\w-]+\.md)\)", GUIDE["README"])
    assert {Path(link).stem for link in links} == set(GUIDE) - {"README"}


def test_the_readme_is_short() -> None:
    assert GUIDE["README"].count("\n") <= 200


def test_links_between_topics_lead_somewhere() -> None:
    for topic in TOPICS.glob("*.md"):
        for link in re.findall(r"\]\(([\w-]+\.md)\)", topic.read_text(encoding="utf-8")):
            assert (TOPICS / link).exists(), f"{topic}: {link}"


def test_the_map_has_every_package() -> None:
    packages = {
        f"rnncli/{path.name}{'/' if path.is_dir() else ''}"
        for path in (ROOT / "rnncli").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    guide = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(rnncli/[^`]+)` \|", guide, re.MULTILINE))
    assert named == packages - {"rnncli/__init__.py", "rnncli/__main__.py"}
