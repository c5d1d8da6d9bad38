"""The guide's examples give what it shows: words to the letter, numbers within 1e-6."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GUIDE, ROOT, SAMPLES, TOPICS

NUMBER = re.compile(r"-?\d+(?:\.\d+(?:e[-+]\d+)?|e[-+]\d+)")
# What a batch took, which is another time at each run.
SECONDS = re.compile(r"\b\d+\.\d s\b")


def sessions() -> list[list[tuple[str, str]]]:
    """Sessions of a shell: commands after ``$``, each with the lines up to the next."""
    return [
        re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
        for text in GUIDE.values()
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    ]


def words(text: str) -> list[str]:
    """Lines with numbers taken out, and the blanks and rules that depend on their width."""
    return [
        re.sub(r"─+", "─", " ".join(NUMBER.sub("#", line).split())) for line in text.splitlines()
    ]


def check_numbers(shown: str, output: str) -> None:
    """Compare numbers; last digits depend on the processor, as far as the largest is rounded."""
    computed, expected = (
        np.array(NUMBER.findall(SECONDS.sub("", text)), float) for text in (shown, output)
    )
    atol = 1e-6 * abs(expected).max(initial=1)
    np.testing.assert_allclose(computed, expected, rtol=0, atol=atol)


def test_there_are_examples() -> None:
    examples = sum(map(len, sessions()))
    assert examples >= 7
    assert len(re.findall(r"^\$ ", "".join(GUIDE.values()), re.MULTILINE)) == examples


@pytest.mark.slow
@pytest.mark.parametrize("session", sessions(), ids=[each[0][0] for each in sessions()])
def test_a_session(session: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "sample_data").symlink_to(SAMPLES)
    scripts = Path(sys.executable).parent  # where pip put the console script
    environment = os.environ | {
        "PATH": f"{scripts}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "80",
    }
    for command, output in session:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        shown = done.stdout.decode()
        assert words(shown) == words(output)
        check_numbers(shown, output)


def test_python_examples(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, notebook: dict[str, Any]
) -> None:
    whole, trained, streamed = re.findall(r"```python\n(.*?)```", GUIDE["python"], re.DOTALL)
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


def test_the_readme_runs_from_python(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE["README"], re.DOTALL)
    output = code.partition("  # ")[2]
    monkeypatch.chdir(ROOT)
    exec(code, {})
    shown = capsys.readouterr().out
    assert words(shown) == words(output)
    check_numbers(shown, output)


def test_the_readme_leads_to_every_topic() -> None:
    links = re.findall(r"\((rnncli/cli/topics/[\w-]+\.md)\)", GUIDE["README"])
    assert {Path(link).stem for link in links} == set(GUIDE) - {"README"}
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", GUIDE["README"], re.MULTILINE)
    }
    contents = re.findall(r"\(#([\w-]+)\)", GUIDE["README"])
    assert contents
    assert set(contents) <= anchors


def test_the_readme_is_short() -> None:
    assert GUIDE["README"].count("\n") < 220


def test_links_between_topics_lead_somewhere() -> None:
    for topic in TOPICS.glob("*.md"):
        for link in re.findall(r"\]\(([\w-]+\.md)\)", topic.read_text(encoding="utf-8")):
            assert (TOPICS / link).exists(), f"{topic}: {link}"


def test_contributors_are_told_of_every_package() -> None:
    packages = {
        f"rnncli/{path.name}{'/' if path.is_dir() else ''}"
        for path in (ROOT / "rnncli").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    guide = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(rnncli/[^`]+)` \|", guide, re.MULTILINE))
    assert named == packages - {"rnncli/__init__.py", "rnncli/__main__.py"}
