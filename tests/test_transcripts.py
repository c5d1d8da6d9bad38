"""Console blocks of the README, the topics and tests/cases give what they show."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, SAMPLES, TOPICS
from transcripts import Session, Shell, is_same, read_sessions, updated

CASES = ROOT / "tests" / "cases"
FILES = (ROOT / "README.md", *sorted(TOPICS.glob("*.md")), *sorted(CASES.glob("*.md")))
SESSIONS = [session for path in FILES for session in read_sessions(path)]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with Shell(tmp_path_factory.mktemp("shell"), ROOT) as shell:
        yield shell


@pytest.mark.linux("Bash and tools of GNU")
@pytest.mark.parametrize("session", SESSIONS, ids=[session.id for session in SESSIONS])
def test_session(
    session: Session, shell: Shell, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    (tmp_path / "sample_data").symlink_to(SAMPLES)
    outputs = []
    for example in session.examples:
        output, code = shell.run(example.command, tmp_path)
        shows_code = code and session.path.parent == CASES  # the guide is for people
        outputs.append(output + f"[{code}]\n" * bool(shows_code))
    wrong = [
        f"$ {example.command}{output}instead of\n{example.output}"
        for example, output in zip(session.examples, outputs, strict=True)
        if not is_same(output, example.output)
    ]
    if wrong and pytestconfig.getoption("update"):
        text = updated(session.path, {session.number: outputs})
        session.path.write_text(text, encoding="utf-8")
        wrong = []
    assert not wrong, "\n".join(wrong)


def test_every_command_is_in_a_session() -> None:
    commands = sum(path.read_text(encoding="utf-8").count("\n$ ") for path in FILES)
    assert commands == sum(len(session.examples) for session in SESSIONS)


@pytest.mark.parametrize(
    ("shown", "expected", "same"),
    [
        ("t  h_0\n1  0.5\n", "t h_0\n1   0.5000001\n", True),
        ("1  0.5\n", "1  0.50001\n", False),
        ("2  0.5\n", "1  0.5\n", False),
        ("a\nb\n", "a\n", False),
        ("a\n", "a\nb\n", False),
        ("a\nb\nc\n", "...\nc\n", True),
        ("a\nb\nc\n", "...\nd\n", False),
        ("Error: x.csv:3: bad 1.5\n", "Error: x.csv:3: ...\n", True),
        ("Error: x.csv:4: bad\n", "Error: x.csv:3: ...\n", False),
        ("", "[2]\n", False),
        ("done in 1.5 s\n", "done in 0.3 s\n", True),
    ],
)
def test_outputs_are_compared(shown: str, expected: str, same: bool) -> None:
    assert is_same(shown, expected) == same


def test_an_update_keeps_what_is_right(tmp_path: Path) -> None:
    path = tmp_path / "case.md"
    text = "Text.\n\n```console\n$ a\n1\n$ cat > f <<END\n> x\n> END\n$ b\n...\n```\n"
    path.write_text(text)
    (session,) = read_sessions(path)
    assert [example.command for example in session.examples] == [
        *("a\n", "cat > f <<END\n> x\n> END\n", "b\n")
    ]
    assert updated(path, {session.number: ["2\n", "", "y\nz\n"]}) == text.replace("1\n", "2\n")
    assert updated(path, {}) == text
