"""The content of a model file, as tables for people or as one JSON document."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, TextIO

from rnncli.model.errors import InputError, listed, printable, sentence
from rnncli.model.formats import fill_layers, find_parts, make_layers, make_network
from rnncli.model.formats.found import Found, Part, assumptions
from rnncli.writers.grid import Column, draw, ends_shown, with_gaps, write_note, write_text
from rnncli.writers.model import describe_layer, known, layer_line

# On a terminal more rows than LONG show only so many at each end.
LONG = 64
SHOWN_AT_ENDS = 16
# Commands that a terminal shows, and parts of a file that are tried for one.
_COMMANDS, _TRIED = 8, 100


def describe_file(
    path: str,
    layer: str | None,
    command: Callable[[str | None], str],
    worded: Callable[[str], str],
) -> dict[str, Any]:
    """Return a document of a model file: its content, what is read of it, what runs it."""
    found, sha256 = find_parts(path, layer)
    document: dict[str, Any] = {
        "file": path,
        "layer": layer,
        "title": found.title,
        "sha256": sha256,
        "beside": [*map(os.path.basename, found.beside)] or None,
        "parameters": {
            "read": _count_values([part for part in found.parts if part.layers]),
            "all": _count_values([*found.parts, *found.aside]),
        },
    }
    notes = list(found.notes)
    try:
        runs = [_describe_run(path, found, layer, command)]
        notes += assumptions(fill_layers(path, found.layers(path)))
    except InputError as error:
        why = sentence(error.place, error.what, worded(error.hint))
        document["why"] = why.removeprefix(f"{path}: ")
        runs, recurrent = [], [part.name for part in found.parts if part.recurrent and part.name]
        for name in recurrent[:_TRIED]:
            with suppress(InputError):
                runs.append(_describe_run(path, found.pick(path, name), name, command))
    parts = [_describe_part(path, part, worded) for part in (*found.parts, *found.aside)]
    return known(document | {"runs": runs, "notes": [*map(worded, notes)], "parts": parts})


def write_parts_json(out: TextIO, document: Mapping[str, Any]) -> None:
    """Write the document."""
    out.write(json.dumps(document, indent=1) + "\n")


def write_parts_table(out: TextIO, document: Mapping[str, Any], whole: str) -> None:
    """Draw the parts, then the tensors, and write below what runs the file, or why nothing does."""
    parts, runs = document["parts"], document["runs"]
    rows = [(p["name"], p["kind"], f"{p['parameters']:,}", _describe_layers(p)) for p in parts]
    title = ": ".join(filter(None, [document["file"], document["title"]]))
    left_out = _draw(out, title, ("part", "kind", "parameters", "here"), rows)
    tensors = [(part["name"], tensor) for part in parts for tensor in part["tensors"]]
    rows = [(name, t["name"], str(tuple(t["shape"])), t["dtype"]) for name, t in tensors]
    if rows:
        title, names = "Tensors", ["part", "tensor", "shape", "type"]
        if len({dtype for *_, dtype in rows}) == 1:  # the title has the type of all
            title, names = f"{title}, all {rows[0][-1]}", names[:-1]
        out.write("\n")
        left_out |= _draw(out, title, names, rows)
    out.write("\n")
    for text in _paragraphs(document):
        write_text(out, text, wrap=True)
    shown = runs[: _COMMANDS if out.isatty() else None]
    for run in shown:
        I, O = run["input_size"], run["output_size"]
        numbers = f" of whole numbers from 0 to {run['indices'] - 1}" if "indices" in run else ""
        takes, gives = f"{I} column{'s' * (I > 1)}{numbers}", f"{O} value{'s' * (O > 1)}"
        row = "sequence" if run["last"] else "step"
        write_text(out, f"Takes {takes} and gives {gives} a {row}:", wrap=True)
        out.write(f"  {printable(run['command'])}\n")
    if left_out or len(shown) < len(runs):
        write_note(out, f"Not all is shown: {whole}.")


def _describe_part(path: str, part: Part, worded: Callable[[str], str]) -> dict[str, Any]:
    why, hint, layers = part.why, part.hint, []
    try:
        layers = [*map(describe_layer, make_layers(path, fill_layers(path, part.layers)))]
    except InputError as error:
        why, hint = f"{error.place.removeprefix(f'{path}: ')}: {error.what}", error.hint
    reason = {"why": why, "hint": worded(hint), "needed": part.needed or why != part.why}
    return {
        "name": part.name,
        "kind": part.kind,
        "parameters": _count_values([part]),
        "layers": layers,
        **(reason if why else {}),
        "tensors": [
            {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
            for name, array in part.arrays.items()
        ],
    }


def _count_values(parts: Sequence[Part]) -> int:
    """Count the values of arrays, each array once."""
    arrays = {name: array for part in parts for name, array in part.arrays.items()}
    return sum(array.size for array in arrays.values())


def _describe_run(
    path: str, found: Found, layer: str | None, command: Callable[[str | None], str]
) -> dict[str, Any]:
    """Return the command that runs a network, with its inputs and outputs."""
    network = make_network(path, fill_layers(path, found.layers(path)), found.last)
    if not any(each.cells for each in network.layers):
        raise InputError(path, "has no recurrent layer")
    return {
        "layer": layer,
        "command": command(layer),
        "input_size": network.input_size,
        **({} if network.indices is None else {"indices": network.indices}),
        "output_size": network.output_size,
        "last": network.last,
    }


def _draw(out: TextIO, title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Draw columns of rows, and return whether some rows are left out: on a terminal, of many."""
    shown = ends_shown(out, len(rows), LONG, SHOWN_AT_ENDS)
    columns = [
        Column(name, with_gaps((rows[i][n] for i in shown if i is not None), shown))
        for n, name in enumerate(names)
    ]
    draw(out, title, columns[:1], columns[1:])
    return None in shown


def _describe_layers(part: Mapping[str, Any]) -> str:
    """Describe the layers of a part in words."""
    if "why" in part:
        return "cannot be run" if part["needed"] else "passed over"
    lines = groupby(map(layer_line, part["layers"]))
    each = ((line, len(list(alike))) for line, alike in lines)
    return "; ".join(f"{count} times {line}" if count > 1 else line for line, count in each)


def _paragraphs(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the text below the tables."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for part in document["parts"]:
        if "why" in part:
            why = sentence("", part["why"], part["hint"])
            by_reason.setdefault((_describe_layers(part), why), []).append(part["name"])
    for (here, why), names in by_reason.items():
        yield f"{here.capitalize()}: {listed(names)} ({why})."
    yield from (f"Note: {note}." for note in document["notes"])
    read, every = document["parameters"].values()
    beside = f" Their values are in {listed(document['beside'])}." if "beside" in document else ""
    yield f"{read:,} of {every:,} parameters are read.{beside}"
    yield f"SHA-256: {document['sha256']}"
    if "why" in document:
        yield f"Cannot be run as a whole: {document['why']}."
