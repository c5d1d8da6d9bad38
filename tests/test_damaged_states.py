"""Damaged and hostile state files: a state, or one line that says why not, in little memory."""

import io
import json
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from test_damaged_archives import described, npy

from rnncli import RNN, Network, Recurrent, Weights, activation, seeded
from rnncli.engine.state import fingerprint
from rnncli.model.arrays import Floats
from rnncli.model.layers import Stateless

RUN = ("run", "--group-by", "k", "--hidden", "3", "--format", "csv", "--state")
TEXT = "k,v\na,1\nb,2\na,3\n"
MEMORY = 40 * 2**20


@pytest.fixture
def state(run_rnn: Rnn, tmp_path: Path) -> Path:
    """A sound state file of two sequences."""
    run_rnn(*RUN, str(tmp_path / "s"), stdin=TEXT)
    return tmp_path / "s"


def arrays_of(state: Path) -> dict[str, Any]:
    with np.load(state) as arrays:
        return dict(arrays)


def with_about(arrays: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Change what a state file says beside its arrays; None takes it out."""
    about = json.loads(str(arrays["about"])) | changes
    about = {name: value for name, value in about.items() if value is not None}
    return arrays | {"about": np.array(json.dumps(about))}


def message_of(run_rnn: Rnn, state: Path) -> str:
    """Refuse a state file: one line, exit code 2, the file as it was, little memory."""
    content = state.read_bytes()
    tracemalloc.start()
    try:
        result = run_rnn(*RUN, str(state), stdin=TEXT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {state}: ")
    assert line.isprintable()
    assert len(line) < 1000
    assert state.read_bytes() == content
    assert peak < MEMORY
    return line.removeprefix(f"Error: {state}: ")


def changed(t: Any = None, h: Any = None, **about: Any) -> Callable[[dict[str, Any]], Any]:
    """Make other arrays of sound ones."""

    def change(arrays: dict[str, Any]) -> dict[str, Any]:
        given = {name: array for name, array in (("t", t), ("h", h)) if array is not None}
        return with_about(arrays | given, **about)

    return change


H = np.full((2, 3), 0.5, np.float32)
WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "h of (K, 1)": (changed(h=H[:, :1]), "h: expected shape (2, 3), as the network has it, got (2"),
    "h of objects": (changed(h=np.array([[{}] * 3] * 2)), "h: expected floats, got object"),
    "NaN": (changed(h=H * np.nan), "h: not finite"),
    "over the precision": (changed(h=H * np.float64(1e300)), "h: not finite in float32: 5e+299 at"),
    "t of another K": (
        changed(t=np.array([1, 2, 3])),
        "t: expected shape (2,), a row for each key",
    ),
    "t of floats": (changed(t=np.array([1.5, 2])), "t: expected whole numbers, got float64"),
    "t below 0": (changed(t=np.array([1, -1])), "t: expected 0 to 2^53, got -1"),
    "a key twice": (changed(keys=[["a"], ["a"]]), "about: the key a twice"),
    "keys of numbers": (changed(keys=[[1], [2]]), "about: keys: expected"),
    "columns that are a text": (changed(columns="a"), "about: columns: expected a list of texts"),
    "cells that are a text": (changed(cells="lstm"), "about: cells: expected a list of texts, got"),
    "a cell that nobody knows": (changed(cells=["a\x1b[31m"]), "the state of 'a\\x1b[31m', this"),
    "a center that is no list": (changed(center=1), "about: center: expected a list of numbers"),
    "no network": (changed(network=None), "about: network: expected"),
    "another format": (changed(format=2), "about: of format 2, expected 1"),
    "no JSON": (lambda a: a | {"about": np.array("{")}, "about: not JSON text"),
    "bytes": (lambda a: a | {"about": np.array(b"{}")}, "about: expected text, as rnn writes it"),
    "an array too many": (lambda a: a | {"x": H}, "expected the arrays about, t and h, got about"),
    "an array too few": (lambda a: {"about": a["about"], "t": a["t"]}, "expected the arrays about"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_no_run_leaves(
    run_rnn: Rnn, state: Path, change: Callable[..., Any], message: str, save: Callable[..., None]
) -> None:
    arrays = change(arrays_of(state))
    with open(state, "wb") as file:
        save(file, **arrays)
    assert message in message_of(run_rnn, state)


def test_another_byte_order(run_rnn: Rnn, state: Path) -> None:
    run = (*RUN[:-1], "--state-in", str(state))
    expected = run_rnn(*run, stdin=TEXT).stdout
    arrays = arrays_of(state)
    arrays |= {name: arrays[name].astype(arrays[name].dtype.newbyteorder()) for name in "th"}
    with open(state, "wb") as file:
        np.savez(file, **arrays)
    result = run_rnn(*run, stdin=TEXT)
    assert (result.exit_code, result.stdout) == (0, expected)


def member(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("name", ["about", "t", "h", "x"])
def test_far_more_than_there_is(run_rnn: Rnn, state: Path, name: str) -> None:
    """An archive of 20 kB that unpacks to 20 MB, and in the same way to any size."""
    arrays = arrays_of(state)
    with zipfile.ZipFile(state, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, array in arrays.items():
            if other != name:
                archive.writestr(f"{other}.npy", member(array))
        with archive.open(f"{name}.npy", "w") as file:
            file.write(npy(described("(20000000,)", "'|i1'")))
            for _ in range(200):
                file.write(bytes(100_000))
    message = message_of(run_rnn, state)
    assert "unpacks to 20," in message or "expected the arrays" in message


def test_text_that_takes_more_memory_than_it_has_characters(run_rnn: Rnn, state: Path) -> None:
    arrays = arrays_of(state)
    keys = np.array('{"format": 1, "keys": [' + "[]," * 2_000_000 + "[]]}")
    with open(state, "wb") as file:
        np.savez_compressed(file, **arrays | {"about": keys})
    del keys
    assert "unpacks to 24," in message_of(run_rnn, state)


def test_an_array_twice(run_rnn: Rnn, state: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(state, "a") as archive:
            archive.writestr("h.npy", member(H))
    assert "h: is in the archive twice" in message_of(run_rnn, state)


# Text that Python takes 50 ms to read, if it does.
SLOW = npy(described(f"({'1L, ' * 2900})"))


def many(path: Path, form: str, count: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(form.format(number), SLOW)


def test_a_state_of_many_arrays(run_rnn: Rnn, state: Path) -> None:
    many(state, "a{}.npy", 2000)
    assert "expected at most 1,000 arrays, got 2,000" in message_of(run_rnn, state)


@pytest.mark.parametrize("form", ["a{}.npy", "layer_{}.forward.W_hh.npy"])
@pytest.mark.parametrize("count", [2000, 900])
def test_weights_of_many_arrays(run_rnn: Rnn, tmp_path: Path, form: str, count: int) -> None:
    """At once: a header of that kind is not even read as Python."""
    many(tmp_path / "w.npz", form, count)
    result = run_rnn("run", "--seq", "1", "--weights", str(tmp_path / "w.npz"))
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    expected = "expected at most 1,000 arrays, got 2,000" if count == 2000 else "damaged: EOF"
    assert expected in result.stderr


@pytest.mark.slow
def test_more_layers_than_are_read_are_not_written(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    hidden = ",".join(["1"] * 334)
    result = run_rnn("weights", "--hidden", hidden, "-o", str(path))
    assert (result.exit_code, path.exists()) == (2, False)
    assert "expected at most 1,000 arrays in an .npz file, got 1,003" in result.stderr
    assert run_rnn("weights", "--hidden", hidden[2:], "-o", str(path)).exit_code == 0
    assert run_rnn("run", "--seq", "1", "--weights", str(path)).exit_code == 0


def test_every_cut_and_flip_is_noticed_or_harmless(run_rnn: Rnn, state: Path) -> None:
    run = (*RUN[:-1], "--state-in", str(state))
    content, expected = state.read_bytes(), run_rnn(*run, stdin=TEXT).stdout
    struck = [content[:end] for end in range(0, len(content), 61)]
    for place in range(0, len(content), 37):
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        struck.append(bytes(flipped))
    for other in struck:
        state.write_bytes(other)
        result = run_rnn(*run, stdin=TEXT)
        assert result.exit_code in (0, 2), result.exception
        if result.exit_code:
            (line,) = result.stderr.splitlines()
            assert line.startswith(f"Error: {state}: not a state file, or a damaged one: ")
        else:
            assert result.stdout == expected


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


class Scaled(Stateless):
    """A layer without state."""

    array_names = ("factor",)
    input_size = output_size = 3

    def __init__(self, factor: float, name: str = "") -> None:
        self.factor = np.full(3, factor)
        self.settings = {"name": name}


def test_a_fingerprint_tells_every_network_from_others() -> None:
    def cell(value: float) -> Weights:
        arrays: list[Floats] = [np.full(shape, value) for shape in ((3, 3), (3, 3), (3,))]
        return Weights(*arrays)

    def top(*arguments: Any) -> Network:
        return Network(cell(1), Scaled(*arguments))

    networks = [
        Network(cell(1)),
        Network(cell(2)),
        Network(cell(1), cell(1)),
        Network(Recurrent(cell(1), direction="backward")),
        top(1.0),
        top(2.0),
        top(1.0, "other"),
    ]
    found = [fingerprint(network, "float32") for network in networks]
    assert len(set(found)) == len(found)
    assert found == [fingerprint(network, "float32") for network in networks]
    assert fingerprint(networks[0], "float64") not in found
