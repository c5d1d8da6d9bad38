"""What a Keras file holds, before any of it is taken for a layer."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rnncli.model.formats.tensors import Tensors


class Stored(NamedTuple):
    """An open Keras file, none of whose tensors has been read yet.

    Parameters
    ----------
    tensors : Tensors
        By their paths in HDF5: ``layers/lstm/cell/vars/0``. The optimizer's
        are left out.
    config : mapping or None
        Of the model: ``class_name``, ``config``; None where the file has
        weights alone.
    version : str
        Of Keras; empty where the file does not tell.
    attributes : mapping
        Those of each group and dataset, by its path; the root's is empty. A
        text is a str, several are a list of them; numbers are NumPy's.
        Attributes of other types are left out.
    """

    tensors: Tensors
    config: Mapping[str, Any] | None
    version: str
    attributes: Mapping[str, Mapping[str, Any]]
