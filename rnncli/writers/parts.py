"""What is in a model file, part by part, as tables for people or as one JSON document."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from textwrap import wrap
from typing import Any, TextIO

from rnncli.model.errors import InputError, listed, printable, sentence
from rnncli.model.formats import fill_layers, find_parts, make_layers, make_network
from rnncli.model.formats.found import Found, Part, assumptions
from rnncli.writers.grid import Column, console_on, draw, write_note
from rnncli.writers.model import describe_layer, layer_line

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
    """Return a document of a model file: what it holds, what is read of it, what runs it."""
    found, sha256 = find_parts(path, layer)
    document: dict[str, Any] = {
        "file": path,
        **({} if layer is None else {"layer": layer}),
        "title": found.title,
        "sha256": sha256,
        **({"beside": [*map(os.path.basename, found.beside)]} if found.beside else {}),
        "parameters": {
            "read": _count([part for part in found.parts if part.layers]),
            "all": _count([*found.parts, *found.aside]),
        },
    }
    notes = list(found.notes)
    try:
        runs = [_run(path, found, layer, command)]
        notes += assumptions(fill_layers(path, found.layers(path)))
    except InputError as error:
        why = sentence(error.place, error.what, worded(error.hint))
        document["why"] = why.removeprefix(f"{path}: ")
        runs = list(_runs_of_parts(path, found, command))
    parts = [_described(path, part, worded) for part in (*found.parts, *found.aside)]
    return document | {"runs": runs, "notes": [*map(worded, notes)], "parts": parts}


def write_parts_json(out: TextIO, document: Mapping[str, Any]) -> None:
    """Write the document."""
    out.write(json.dumps(document, indent=1) + "\n")


def write_parts_table(out: TextIO, document: Mapping[str, Any], whole: str) -> None:
    """Draw the parts, then the tensors, and say below what runs the file, or why nothing does."""
    parts = document["parts"]
    rows = [(p["name"], p["kind"], f"{p['parameters']:,}", _here(p)) for p in parts]
    title = ": ".join(filter(None, [document["file"], document["title"]]))
    left_out = _draw(out, title, ("part", "kind", "parameters", "here"), rows)
    left_out |= _draw_tensors(out, parts)
    width = console_on(out).width
    out.write("\n")
    for text in _texts(document):
        _write_wrapped(out, text, width)
    for run in document["runs"][: _COMMANDS if out.isatty() else None]:
        _write_wrapped(out, _takes(run), width)
        out.write(f"  {printable(run['command'])}\n")
    if left_out or (out.isatty() and len(document["runs"]) > _COMMANDS):
        write_note(out, f"Not all is shown: {whole}.")


def _described(path: str, part: Part, worded: Callable[[str], str]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": part.name,
        "kind": part.kind,
        "parameters": _count([part]),
        "layers": [],
    }
    why, hint = part.why, part.hint
    try:
        layers = make_layers(path, fill_layers(path, part.layers))
        described["layers"] = [*map(describe_layer, layers)]
    except InputError as error:
        why, hint = f"{error.place.removeprefix(f'{path}: ')}: {error.what}", error.hint
    if why:
        needed = part.needed or why != part.why
        described |= {"why": why, "hint": worded(hint), "needed": needed}
    tensors = [
        {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        for name, array in part.arrays.items()
    ]
    return described | {"tensors": tensors}


def _count(parts: Sequence[Part]) -> int:
    """Count the values of the arrays that parts have, each array once."""
    arrays = {name: array for part in parts for name, array in part.arrays.items()}
    return sum(array.size for array in arrays.values())


def _run(
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


def _runs_of_parts(
    path: str, found: Found, command: Callable[[str | None], str]
) -> Iterator[dict[str, Any]]:
    """Return what runs each recurrent part that runs by itself, of very many the first ones."""
    recurrent = [part.name for part in found.parts if part.recurrent and part.name]
    for name in recurrent[:_TRIED]:
        try:
            yield _run(path, found.pick(path, name), name, command)
        except InputError:
            continue


def _draw_tensors(out: TextIO, parts: Sequence[Mapping[str, Any]]) -> bool:
    """Draw the tensors of all parts; their type in the title, where it is that of all."""
    rows = [
        (part["name"], each["name"], str(tuple(each["shape"])), each["dtype"])
        for part in parts
        for each in part["tensors"]
    ]
    if not rows:
        return False
    title, names = "Tensors", ["part", "tensor", "shape", "type"]
    if len({dtype for *_, dtype in rows}) == 1:
        title, names = f"{title}, all {rows[0][-1]}", names[:-1]
    out.write("\n")
    return _draw(out, title, names, [row[: len(names)] for row in rows])


def _draw(out: TextIO, title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Draw rows, and return whether some are left out in the middle: on a terminal, of many."""
    left_out = len(rows) > LONG and out.isatty()
    if left_out:
        gap = ["..."] * len(names)
        rows = [*rows[:SHOWN_AT_ENDS], gap, *rows[-SHOWN_AT_ENDS:]]
    cells = zip(*rows, strict=True) if rows else [()] * len(names)
    label, *columns = (Column(name, each) for name, each in zip(names, cells, strict=True))
    draw(out, title, [label], columns)
    return left_out


def _write_wrapped(out: TextIO, text: str, width: int) -> None:
    """Write a paragraph, in which a name with hyphens is cut only where it fits no line."""
    lines = wrap(printable(text), width, break_on_hyphens=False)
    out.writelines(f"{line}\n" for line in lines)


def _takes(run: Mapping[str, Any]) -> str:
    """Return in words what a network takes and gives."""
    numbers = f" of whole numbers from 0 to {run['indices'] - 1}" if "indices" in run else ""
    taken, given = _counted(run["input_size"], "column"), _counted(run["output_size"], "value")
    return f"Takes {taken}{numbers} and gives {given} a {'sequence' if run['last'] else 'step'}:"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _here(part: Mapping[str, Any]) -> str:
    """Return what a part is here, in words."""
    if "why" in part:
        return "cannot be run" if part["needed"] else "passed over"
    lines = groupby(map(layer_line, part["layers"]))
    each = ((line, len(list(alike))) for line, alike in lines)
    return "; ".join(f"{count} times {line}" if count > 1 else line for line, count in each)


def _texts(document: Mapping[str, Any]) -> Iterator[str]:
    """Return what the tables do not say, a paragraph each."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for part in document["parts"]:
        if "why" in part:
            why = sentence("", part["why"], part["hint"])
            by_reason.setdefault((_here(part), why), []).append(part["name"])
    for (here, why), names in by_reason.items():
        yield f"{here.capitalize()}: {listed(names)} ({why})."
    yield from (f"Note: {note}." for note in document["notes"])
    read, every = document["parameters"].values()
    beside = f" Their values are in {listed(document['beside'])}." if "beside" in document else ""
    yield f"{read:,} of {every:,} parameters are read.{beside}"
    yield f"SHA-256: {document['sha256']}"
    if "why" in document:
        yield f"Cannot be run as a whole: {document['why']}."
