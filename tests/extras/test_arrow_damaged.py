"""Damaged Parquet and Arrow: one line, exit 2, and the process lives."""

import io
import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, Rnn

NETWORK = ("--hidden", "1", "--format", "csv")
USES = {
    "numbers": ("--columns", "v", "--missing", "hold"),
    "keys": ("--columns", "v", "--missing", "zero", "--group-by", "k,d"),
    "lists": ("--columns", "l"),
    "cells": ("--columns", "v", "--missing", "hold", "--passthrough"),
}


def table(rows: int = 300) -> Any:
    return pa.table(
        {
            "k": [f"k{i % 7}" for i in range(rows)],
            "v": [None if i % 50 == 0 else i / 7 for i in range(rows)],
            "d": pa.array([f"d{i % 3}" for i in range(rows)]).dictionary_encode(),
            "l": pa.array([[1.0, i] for i in range(rows)], pa.list_(pa.float32())),
        }
    )


def parquet(**options: Any) -> bytes:
    content = io.BytesIO()
    pq.write_table(table(), content, **options)
    return content.getvalue()


def arrow(new: Callable[..., Any], compression: str | None = None) -> bytes:
    content = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with new(content, table().schema, options=options) as file:
        file.write_table(table(), max_chunksize=100)
    return content.getvalue()


WHOLE = {
    "x.parquet": parquet(),
    "zstd.parquet": parquet(compression="zstd", row_group_size=100),
    "plain.parquet": parquet(compression="none", use_dictionary=False, data_page_version="2.0"),
    "x.arrow": arrow(pa.ipc.new_file),
    "stream.arrow": arrow(pa.ipc.new_stream),
    "zstd.arrow": arrow(pa.ipc.new_file, "zstd"),
}
FLIPPED = bytearray(parquet(compression="none", use_dictionary=False, write_page_checksum=True))
FLIPPED[FLIPPED.index(struct.pack("<d", 77 / 7))] ^= 1
NEITHER = "neither a Parquet nor an Arrow file: it "
DAMAGED = {
    "CSV": (b"t,v\n1,2\n", f"{NEITHER}begins with b't,v\\n'"),
    "empty": (b"", f"{NEITHER}is empty"),
    "Feather of its first version": (b"FEA1\0\0\0\0", f"{NEITHER}begins with b'FEA1'"),
    "encrypted": (
        b"PARE" + bytes(60) + b"PARE",
        "is encrypted; expected a Parquet file that is not",
    ),
    "magic alone": (b"PAR1", "not a whole Parquet file: "),
    "cut": (WHOLE["x.parquet"][:-20], "not a whole Parquet file: "),
    "cut Arrow": (WHOLE["x.arrow"][:-20], "not a whole Arrow file: "),
    "cut stream": (WHOLE["stream.arrow"][:-300], "not a whole Arrow file: "),
    "a stream cut between two batches": (
        WHOLE["stream.arrow"][:-8],
        "not a whole Arrow file: it has no end (was the program that wrote it stopped?)",
    ),
    "two streams": (
        WHOLE["stream.arrow"] * 2,
        "not a whole Arrow file: more follows its end (a second stream?)",
    ),
    "a bit of a value": (bytes(FLIPPED), "not a whole Parquet file: "),
    "a size beyond the file": (
        WHOLE["x.parquet"][:-8] + b"\xff\xff\xff\x7fPAR1",
        "not a whole Parquet file: ",
    ),
    "a message beyond memory": (b"\xff\xff\xff\xff\xff\xff\xff\x7f", "not a whole Arrow file: "),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_damaged(run_rnn: Rnn, tmp_path: Path, content: bytes, message: str, name: str) -> None:
    """By any of the names: what is in a file tells what it is."""
    path = tmp_path / name
    path.write_bytes(content)
    result = run_rnn("run", path, *USES["numbers"], *NETWORK)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"Error: {path}: {message}")


def test_a_file_that_is_piped_in_is_read_to_its_end(run_rnn: Rnn) -> None:
    """Its rows stand before its list of contents, and are all there if that is cut."""
    command = ("run", "-", *USES["numbers"], *NETWORK)
    for content, code in ((WHOLE["x.arrow"], 0), (WHOLE["x.arrow"][:-9], 2)):
        assert run_rnn(*command, stdin=content).exit_code == code


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Cut, or with bits, bytes, or a length changed, mostly where the schema and sizes are."""
    some = bytearray(content)
    kind = draw.randrange(4)
    if kind == 0:
        return content[: draw.randrange(len(content))]
    last = len(some) - 1
    for _ in range(draw.choice((1, 1, 2, 9))):
        at = draw.choice((draw.randrange(last), draw.randrange(min(last, 1500))))
        at = draw.choice((at, last - draw.randrange(min(last, 1500))))
        if kind == 1:
            some[at] ^= 1 << draw.randrange(8)
        elif kind == 2:
            some[at] = draw.randrange(256)
        else:
            some[at : at + 4] = draw.choice((b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", bytes(4)))
    return bytes(some)


# Reads what stands on each line, and writes an exit code and the lines of its message.
CHILD = """
import json, resource, sys
from click.testing import CliRunner
from rnncli.cli import rnn

resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
for line in sys.stdin:
    result = CliRunner().invoke(rnn, json.loads(line))
    known = result.exception is None or isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Note: ")]
    print(json.dumps([result.exit_code if known else repr(result.exception), lines]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_any_damage_is_one_line(tmp_path: Path, use: tuple[str, ...]) -> None:
    """Of 300 damaged files none ends the process, or is a traceback."""
    draw, commands = random.Random(5), []
    for number in range(300):
        name = draw.choice([*WHOLE])
        path = tmp_path / f"{number}{name}"
        path.write_bytes(damaged(draw, WHOLE[name]))
        commands.append(["run", str(path), *use, *NETWORK, "-o", str(tmp_path / "out")])
    result = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\n".join(map(json.dumps, commands)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    ends = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.returncode, len(ends)) == (0, len(commands)), result.stderr
    for command, (code, lines) in zip(commands, ends, strict=True):
        assert code in (0, 2), command
        assert len(lines) == (code == 2), command
    assert sum(code == 2 for code, _ in ends) > 100
