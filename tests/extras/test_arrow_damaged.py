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
from conftest import NIGHTLY, ROOT, Rnn

CASES = 3000 if NIGHTLY else 200
NETWORK = ("--hidden", "1", "--format", "csv")
USES = (
    ("--columns", "v", "--missing", "hold"),
    ("--columns", "v", "--missing", "zero", "--group-by", "k,d"),
    ("--columns", "l"),
    ("--columns", "v", "--missing", "hold", "--passthrough"),
)


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


PARQUET, ARROW, STREAM = parquet(), arrow(pa.ipc.new_file), arrow(pa.ipc.new_stream)
WHOLE = [
    *(PARQUET, ARROW, STREAM, arrow(pa.ipc.new_file, "zstd")),
    parquet(compression="zstd", row_group_size=100),
    parquet(compression="none", use_dictionary=False, data_page_version="2.0"),
]
FLIPPED = bytearray(parquet(compression="none", use_dictionary=False, write_page_checksum=True))
FLIPPED[FLIPPED.index(struct.pack("<d", 77 / 7))] ^= 1
DAMAGED = {
    "CSV": (b"t,v\n1,2\n", "neither a Parquet nor an Arrow file"),
    "cut": (PARQUET[:-20], "not a whole Parquet or Arrow file"),
    "a bit of a value": (bytes(FLIPPED), "not a whole Parquet or Arrow file"),
    "a stream cut between two batches": (
        STREAM[:-8],
        "not a whole Parquet or Arrow file: it has no end",
    ),
    "two streams": (STREAM * 2, "not a whole Parquet or Arrow file: more follows its end"),
    "a message beyond memory": (b"\xff" * 7 + b"\x7f", "not a whole Parquet or Arrow file"),
}


@pytest.mark.parametrize(("content", "words"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_one_line(run_rnn: Rnn, tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    result = run_rnn("run", path, *USES[0], *NETWORK)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"Error: {path}: {words}")


def test_a_file_that_is_piped_in_is_read_to_its_end(run_rnn: Rnn) -> None:
    """Its rows stand before its list of contents, and are all there if that is cut."""
    for content, code in ((ARROW, 0), (ARROW[:-9], 2)):
        assert run_rnn("run", "-", *USES[0], *NETWORK, stdin=content).exit_code == code


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


# Reads a command from each line, and writes its exit code and the lines of its message.
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


def test_any_damage_is_one_line(tmp_path: Path) -> None:
    """No damaged file ends the process, or is a traceback."""
    seed = random.randrange(10**9) if NIGHTLY else 5
    draw, commands = random.Random(seed), []
    for number in range(CASES):
        path = tmp_path / str(number)
        path.write_bytes(damaged(draw, draw.choice(WHOLE)))
        use = USES[number % len(USES)]
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
    assert (result.returncode, len(ends)) == (0, CASES), (seed, result.stderr)
    for command, (code, lines) in zip(commands, ends, strict=True):
        assert code in (0, 2), (seed, command, code)
        assert len(lines) == (code == 2), (seed, command, lines)
    assert sum(code == 2 for code, _ in ends) > CASES // 3
