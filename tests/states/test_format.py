"""Damaged and hostile state files: a state, or one line that says why not, in little memory."""

import io
import json
import os
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from engine.test_costs import peak_of
from hypothesis import given
from hypothesis import strategies as st

from rnncli import RNN, Network, Recurrent, Weights, activation, seeded
from rnncli.cli import rnn
from rnncli.model.fingerprint import fingerprint

RUN = ("run", "--group-by", "k", "--hidden", "3", "--format", "csv", "--state-in")
TEXT = "k,v\na,1\nb,2\na,3\n"
MEMORY = 40 * 2**20


def sound() -> bytes:
    """A state file of two sequences."""
    with TemporaryDirectory() as folder:
        state = Path(folder, "s")
        CliRunner().invoke(rnn, [*RUN[:-1], "--state", str(state)], input=TEXT)
        return state.read_bytes()


SOUND = sound()
ARRAYS = dict(np.load(io.BytesIO(SOUND)))
ABOUT = json.loads(str(ARRAYS["about"]))
H = np.full((2, 3), 0.5, np.float32)


def with_state(content: bytes) -> Result:
    """Run with a state file that stays as it is."""
    with TemporaryDirectory() as folder:
        state = Path(folder, "s")
        state.write_bytes(content)
        result = CliRunner().invoke(rnn, [*RUN, str(state)], input=TEXT)
        assert state.read_bytes() == content
    return result


EXPECTED = with_state(SOUND).stdout


def saved(**changes: Any) -> bytes:
    """Other arrays, and other fields of the text beside them; None takes one out."""
    arrays = {name: changes.pop(name) for name in ("about", "t", "h", "x") if name in changes}
    about = {name: value for name, value in (ABOUT | changes).items() if value is not None}
    file = io.BytesIO()
    np.savez(file, **ARRAYS | {"about": np.array(json.dumps(about))} | arrays)
    return file.getvalue()


def refused(content: bytes) -> str:
    """Refuse a state file in one line."""
    result = with_state(content)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (line,) = result.stderr.splitlines()
    assert line.isprintable()
    assert len(line) < 1000
    assert line.startswith(f"Error: {gettempdir()}{os.sep}")
    return line.partition(f"{os.sep}s: ")[2]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "h of (K, 1)": ({"h": H[:, :1]}, "expected arrays of shape {'h': (2, 3)}, got {'h': (2, 1)}"),
    "NaN": ({"h": H * np.nan}, "h: not finite"),
    "t of floats": ({"t": np.array([1.5, 2])}, "t: expected 2 whole numbers"),
    "t too large": ({"t": np.array([1, 2**53 + 1])}, "t: expected 2 whole numbers from 0 to 2^53"),
    "a key twice": ({"keys": [["a"], ["a"]]}, "a key twice"),
    "another name": ({"key_columns": ["a\x1b[31m"]}, "sequences by 'a\\x1b[31m', this run has k"),
    "a center that no float is": ({"center": [10**400]}, "unexpected center: [1"),
    "no format": ({"format": None}, "about: expected format 1, got {"),
    "another format": ({"format": 2}, "got format 2, which another version of rnn writes"),
    "an array too many": ({"x": H}, "expected arrays of shape {'h': (2, 3)}, got"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_file_that_no_run_leaves_is_refused(changes: dict[str, Any], message: str) -> None:
    assert message in refused(saved(**changes))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.data())
def test_any_damage_is_noticed_or_harmless(data: st.DataObject) -> None:
    """A cut, a byte that is another, or another value of a field."""
    way = data.draw(st.sampled_from(["cut", "byte", "field"]))
    if way == "field":
        content = saved(**{data.draw(st.sampled_from([*ABOUT, "task", "scale"])): data.draw(JSON)})
    else:
        place = data.draw(st.integers(0, len(SOUND) - 1))
        byte = bytes([data.draw(st.integers(0, 255))]) + SOUND[place + 1 :]
        content = SOUND[:place] + byte * (way == "byte")
    result = with_state(content)
    if result.exit_code:
        refused(content)
    else:
        assert result.stdout == EXPECTED


def test_another_byte_order_is_read() -> None:
    other = {name: ARRAYS[name].astype(ARRAYS[name].dtype.newbyteorder()) for name in "th"}
    assert with_state(saved(**other)).stdout == EXPECTED


def npy(description: str) -> bytes:
    """The beginning of an array: its type and shape, however they are written."""
    return b"\x93NUMPY\x01\0" + len(description).to_bytes(2, "little") + description.encode()


@pytest.mark.parametrize("name", ["about", "h", "x", "text"])
def test_a_small_file_takes_little_memory(name: str) -> None:
    """An archive of 20 kB that unpacks to 20 MB, and in the same way to any size."""
    file = io.BytesIO()
    if name == "text":  # which as Python objects takes many times as much
        keys = '{"format": 1, "keys": [' + "[]," * 2_000_000 + "[]]}"
        np.savez_compressed(file, **ARRAYS | {"about": np.array(keys)})
        del keys
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            with zipfile.ZipFile(io.BytesIO(SOUND)) as other:
                for member in {*other.namelist()} - {f"{name}.npy"}:
                    archive.writestr(member, other.read(member))
            shape = "{'descr': '|i1', 'fortran_order': False, 'shape': (20000000,), }\n"
            archive.writestr(f"{name}.npy", npy(shape) + bytes(20_000_000))

    def refuse() -> None:
        assert "unpacks to 2" in refused(file.getvalue())

    assert peak_of(refuse) < MEMORY


def test_a_fingerprint_is_what_it_always_was() -> None:
    """State files of earlier versions stay those of the same network."""
    assert fingerprint(seeded(1, 3), "float32") == (
        "8ba9788d3f83f4e0c2b4843496133e201bc2ba9d3c435bdf7b4726caf76f1093"
    )
    arrays = (np.full(shape, 0.5, "f") for shape in ((2, 3), (3, 3), 3))
    cell = RNN(Weights(*arrays), activation("elu", 0.5), 2.0)
    assert fingerprint(Network(Recurrent(cell, direction="backward")), "float64") == (
        "7619eb20e2b00d9043f0168fff37553b3c4712c4da5cd984395aceaa7ba1d975"
    )


def test_a_fingerprint_tells_every_network_from_others() -> None:
    def cell(value: float) -> Weights:
        return Weights(*(np.full(shape, value) for shape in ((3, 3), (3, 3), (3,))))

    networks = [*(Network(cell(1)), Network(cell(2)), Network(cell(1), cell(1)))]
    networks.append(Network(Recurrent(cell(1), direction="backward")))
    found = [fingerprint(network, "float32") for network in networks]
    assert len({*found, fingerprint(networks[0], "float64")}) == len(found) + 1
