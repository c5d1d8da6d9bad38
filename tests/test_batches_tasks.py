"""From inputs and templates to tasks, and what of it is refused before anything runs."""

import os
from pathlib import Path

import pytest
from batch_runs import NETWORK, Batch, counted, files, in_folder

from rnncli.batches.tasks import Template, expanded, names_of
from rnncli.model.errors import InputError

__all__ = ["in_folder"]


@pytest.mark.parametrize(
    ("path", "stem", "name", "folder"),
    [
        ("a.csv", "a", "a.csv", "."),
        ("in/a.csv", "a", "a.csv", "in"),
        ("in/a.b.csv.gz", "a.b", "a.b.csv.gz", "in"),
        ("/data/in/a.CSV.GZ", "a", "a.CSV.GZ", "data/in"),
        ("../../x/./a.csv", "a", "a.csv", "x"),
        ("../a", "a", "a", "."),
        ("s3://bucket/in/a.parquet", "a", "a.parquet", "bucket/in"),
    ],
)
def test_names_of_an_input(path: str, stem: str, name: str, folder: str) -> None:
    assert names_of(path) == {"stem": stem, "name": name, "dir": folder}


@pytest.mark.parametrize(
    ("text", "filled", "folder"),
    [
        ("out/{stem}.csv", "out/a.csv", "out"),
        ("out/{dir}/{stem}.csv", "out/a.csv", "out"),
        ("{dir}/{name}.npy", "a.csv.npy", ""),
        ("/x//y/{stem}", "/x/y/a", "/x//y"),
        ("../o-{stem}-{stem}.csv", "../o-a-a.csv", ".."),
        ("{{x}}/{stem}", "{x}/a", ""),
        ("./-", "./-", "."),
        ("s3://b/o/{stem}.csv", "s3://b/o/a.csv", "s3://b/o"),
    ],
)
def test_a_template(text: str, filled: str, folder: str) -> None:
    template = Template("-o", text)
    assert template.filled(names_of("./a.csv")) == filled
    assert template.folder == folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{stme}.csv", "{stme} is none of {stem}, {name}, {dir}; did you mean 'stem'?"),
        ("{stem!r}", "{stem!r} is none of"),
        ("out/{stem}/", "a folder; end it with the name of a file"),
        ("{stem", "not a template: "),
    ],
)
def test_what_is_no_template(text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        Template("-o", text)
    assert str(raised.value).startswith(f"-o {text}: {message}")


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.makedirs("in/deep/x.csv")
    names = ("in/s2.csv", "in/s10.csv", "in/s1.csv", "in/deep/s3.csv", "in/[1].csv", "in/.s4.csv")
    for name in names:
        Path(name).touch()
    assert expanded(["in/s*.csv"]) == ["in/s1.csv", "in/s2.csv", "in/s10.csv"]
    assert expanded(["in/**/s*.csv", "no.csv"]) == [
        *("in/deep/s3.csv", "in/s1.csv", "in/s2.csv", "in/s10.csv", "no.csv"),
    ]
    assert expanded(["in/[1].csv", "in/s[12].csv"]) == ["in/[1].csv", "in/s1.csv", "in/s2.csv"]
    with pytest.raises(InputError, match=r"^in/x\*: matches no file$"):
        expanded(["in/x*"])


OUT = ("-o", "out/{stem}.csv")
TWO = ("in/a.csv", "in/b.csv")
BOTH = "would both be written to"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (OUT, "no input: "),
        (("in", *OUT), "in: a folder"),
        (("-", *OUT), "-: inputs are files"),
        (("in/a.csv", "-o", "~/{stem}.csv"), "-o ~/"),
        (("in/a.csv", "-o", "piped/{stem}.csv"), "piped/rnn-batch.jsonl: the report"),
        (("in/a.csv", "-o", "piped/{stem}.csv", "-n"), "piped/rnn-batch.jsonl: the report"),
        (("in/*.txt", *OUT), "in/*.txt: matches no file"),
        (("in/a.csv", "-o", "-"), "-o -: "),
        (("in/a.csv", "-o", "out.csv"), "-o out.csv: one file for all inputs"),
        (("in/a.csv", "-o", "{name}.x"), "-o a.csv.x: no format"),
        (("in/a.csv", "in/a.csv", *OUT), "in/a.csv: is given twice"),
        (("in/a.csv", "./in/a.csv", *OUT), f"in/a.csv and ./in/a.csv {BOTH} out"),
        ((*TWO, "-o", "out/{dir}.csv"), f"in/a.csv and in/b.csv {BOTH} out/in.csv"),
        ((*TWO, *OUT, "--state", "s.npz"), f"in/a.csv and in/b.csv {BOTH} s.npz"),
        ((*TWO, "-o", "{stem}/x.csv"), f"in/a.csv and in/b.csv {BOTH} b/x.csv"),
        ((*TWO, "-o", "in/{stem}.csv"), "in/a.csv: would be written over"),
        (("in/a.csv", "-o", "link/{stem}.csv"), "link/a.csv: would be written over"),
        (("in/a.csv", "-o", "hard/{stem}.csv"), "hard/a.csv: would be written over"),
        (("in/a.csv", *OUT, "--state", "out/rnn-batch.jsonl"), "out/rnn-batch.jsonl: is the"),
        (("rnn-batch.jsonl", "-o", "{stem}.csv"), "rnn-batch.jsonl: would be written over"),
        (
            ("in/a.csv", *OUT, "--state-in", "s/{stem}", "--state-out", "s/{stem}"),
            "s/a: would be written over",
        ),
        (
            ("in/a.csv", "-o", "s/{stem}.csv", "--state", "s/{stem}.csv"),
            "s/a.csv: would be the output and the state",
        ),
        (("in/a.csv", *OUT, "--weights", "no.npz"), "--hidden and --weights no.npz: give one"),
        (("in/a.csv", *OUT, "--follow"), "No such option '--follow'"),
        (("in/a.csv", *OUT, "--jobs", "2"), "--jobs: given 2 times"),
        (("in/a.csv",), "Missing option '-o' / '--output'"),
        (("in/a.csv", "-o", "in/a.csv/{stem}.csv"), "in/a.csv: cannot be made: "),
    ],
)
def test_what_is_refused_before_anything_runs(
    batch: Batch, arguments: tuple[str, ...], message: str
) -> None:
    os.symlink("in", "link")
    os.mkdir("hard")
    os.link("in/a.csv", "hard/a.csv")
    os.mkdir("b")
    os.symlink("b", "a")
    os.mkdir("piped")
    os.mkfifo("piped/rnn-batch.jsonl")
    Path("rnn-batch.jsonl").write_text("value\n1\n")
    before = sorted(Path().rglob("*"))
    result = batch(*arguments, *NETWORK)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_a_bad_model_is_one_line(batch: Batch) -> None:
    Path("net.npz").write_text("no archive")
    result = batch("in/*.csv", *OUT, "--weights", "net.npz")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: net.npz: ")
    assert result.stderr.count("\n") == 1
    assert not Path("out").exists()


def test_an_output_that_is_a_link_to_another_is_refused(batch: Batch) -> None:
    os.mkdir("out")
    os.symlink("a.csv", "out/b.csv")
    result = batch("in/*.csv", *OUT, *NETWORK)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: in/a.csv and in/b.csv would both be written to out/b")
    assert os.listdir("out") == ["b.csv"]


def test_an_output_over_the_model_is_refused(batch: Batch) -> None:
    assert batch("in/a.csv", "-o", "nets/{stem}.csv", *NETWORK).exit_code == 0
    Path("nets/a.csv").unlink()
    import rnncli

    rnncli.save(rnncli.seeded(1, 4), "net.npz")
    os.symlink("../net.npz", "nets/a.csv")
    result = batch("in/a.csv", "-o", "nets/{stem}.csv", "--columns", "2", "--weights", "net.npz")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: nets/a.csv: would be written over: net.npz is read; "
        "give -o another folder or name\n",
    )


def test_a_folder_has_a_name_for_each(batch: Batch) -> None:
    for folder in ("out", "out/", "./o}ut"):
        assert batch("in/a.csv", "-o", folder, *NETWORK).exit_code == 0
        assert sorted(files(folder)) == ["a.csv", "rnn-batch.jsonl"]


def test_folders_of_inputs_stay_apart(batch: Batch) -> None:
    os.makedirs("in/x/y")
    os.rename("in/c.csv", "in/x/y/a.csv")
    command = ("in/**/*.csv", "-o", "out/{dir}/{stem}.csv", *NETWORK)
    assert counted(batch(*command)) == (3, 0, 0, 0)
    outputs = sorted(str(path) for path in Path("out").rglob("*.csv"))
    assert outputs == ["out/in/a.csv", "out/in/b.csv", "out/in/x/y/a.csv"]
    assert Path("out/rnn-batch.jsonl").exists()
