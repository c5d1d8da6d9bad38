"""The content of a model file or a state file, as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rnncli.model.description import layer_line
from rnncli.model.errors import listed, printable, word
from rnncli.writers.grid import Column, draw, write_text


def write_tables(out: TextIO, document: Mapping[str, Any]) -> None:
    """Write how to use a file, then its content."""
    write_text(out, ": ".join(filter(None, [document["file"], document["title"]])), wrap=True)
    write = _write_state if "sequences" in document else _write_model
    write(out, document)


def _write_state(out: TextIO, document: Mapping[str, Any]) -> None:
    sequences = document["sequences"]
    first = sequences[0] if sequences else {}
    rows = [[*each.get("key", {}).values(), str(each["t"])] for each in sequences]
    _draw(out, [*first.get("key", {}), "t"], rows)
    sizes = (f"{name} {len(each)}" for name, each in first.items() if name not in ("key", "t"))
    read = f" over {listed(document['columns'])}" if "columns" in document else ""
    count = f"{len(sequences):,} sequence{'s' * (len(sequences) != 1)}"
    cells = f"{listed(document['cells'])} cells ({', '.join(sizes)})"
    out.write("\n")
    write_text(out, f"{count} of {cells}{read}.", wrap=True)
    for name in ("center", "scale"):
        if name in document:
            write_text(out, f"--{name} {','.join(map(repr, document[name]))}")
    write_text(out, f"Network and precision: SHA-256 {document['network']}")


def _write_model(out: TextIO, document: Mapping[str, Any]) -> None:
    components = document["parts"]
    out.write("\n")
    if "why" in document:
        write_text(out, f"Cannot be run as a whole: {document['why']}.", wrap=True)
    for run in document["runs"]:
        write_text(out, _describe_sizes(run), wrap=True)
        out.write(f"  {printable(run['command'])}\n")
    if "outputs" in document:
        names, option = listed(document["outputs"]), word("`output_name`")
        write_text(out, f"Outputs: {names}; {option} picks one.", wrap=True)
    rows = [[p["name"], p["kind"], f"{p['parameters']:,}", _describe_layers(p)] for p in components]
    _draw(out, ["part", "kind", "parameters", "here"], rows)
    rows = [
        [component["name"], tensor["name"], str(tuple(tensor["shape"])), tensor["dtype"]]
        for component in components
        for tensor in component["tensors"]
    ]
    if rows:
        _draw(out, ["part", "tensor", "shape", "type"], rows)
    by_reason: dict[str, list[str]] = {}
    for component in components:
        if "why" in component:
            reason = f"{_describe_layers(component).capitalize()} ({component['why']})"
            by_reason.setdefault(reason, []).append(component["name"] or component["kind"])
    read, total = document["parameters"].values()
    values = f" Their values are in {listed(document['beside'])}." if "beside" in document else ""
    out.write("\n")
    for text in (
        *(f"{reason}: {listed(names)}." for reason, names in by_reason.items()),
        *(f"Note: {note}." for note in document["notes"]),
        f"{read:,} of {total:,} parameters are read.{values}",
        f"SHA-256: {document['sha256']}",
    ):
        write_text(out, text, wrap=True)


def _describe_sizes(run: Mapping[str, Any]) -> str:
    """Describe input and output of a run."""
    if "input_size" not in run:
        return "Leaves open how many columns it takes:"
    I, O = run["input_size"], run["output_size"]
    numbers = f" of whole numbers from 0 to {run['indices'] - 1}" if "indices" in run else ""
    takes, gives = f"{I} column{'s' * (I > 1)}{numbers}", f"{O} value{'s' * (O > 1)}"
    return f"Takes {takes} and gives {gives} a {'sequence' if run['last'] else 'step'}:"


def _draw(out: TextIO, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw columns of rows."""
    columns = [Column(name, [row[n] for row in rows]) for n, name in enumerate(names)]
    draw(out, "", columns[:1], columns[1:])


def _describe_layers(component: Mapping[str, Any]) -> str:
    """Describe the layers of a component in words."""
    if "why" in component:
        return "cannot be run" if component["needed"] else "passed over"
    return "; ".join(map(layer_line, component["layers"]))
