"""Explained steps as JSON: a field that is None is left out, and so is a matrix of weights."""

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, TextIO

import numpy as np

from rnncli.writers.digits import texts


def as_json(record: Any, digits: int | None = None) -> Any:
    """Convert a record to what JSON has, its numbers with so many digits after the point."""
    if isinstance(record, np.ndarray):
        (row,) = texts(record[None], digits)
        return [n if isfinite(n) else None for n in map(float, row)]
    if isinstance(record, list):
        return [as_json(each, digits) for each in record]
    fields = record._asdict() if hasattr(record, "_asdict") else record
    if not isinstance(fields, Mapping):
        return fields
    return {
        name: as_json(value, digits)
        for name, value in fields.items()
        if value is not None and getattr(value, "ndim", 1) == 1
    }


def write_document(
    out: TextIO, model: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]
) -> None:
    """Write one document; if the run fails, the steps before it and ``error``."""
    out.write(f'{{"model": {json.dumps(model)},\n"steps": [')
    begin = ""
    try:
        for step in steps:
            out.write(f"{begin}{json.dumps(step, allow_nan=False)}")
            begin = ",\n"
    except ValueError as error:
        out.write(f'],\n"error": {json.dumps(str(error))}}}\n')
        raise
    out.write("]}\n")
