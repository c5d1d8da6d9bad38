"""The tensors of an open weight file, as every format shows them."""

from collections.abc import Callable, Mapping, Sequence
from re import finditer
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, in_dtype
from rnncli.model.errors import InputError, did_you_mean, listed, sentence, shown, verbatim

# Float types that become weights; the halves as float32.
FLOATS = ("float16", "bfloat16", "float32", "float64")

Shape = tuple[int, ...]


def widened(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Return bfloat16, which NumPy does not have, as float32, of which it is the upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Entry(NamedTuple):
    """Name, shape and type of a tensor in a file, before it is read.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
        One of `FLOATS`, or any other name.
    """

    shape: Shape
    dtype: str


class Derived(NamedTuple):
    """A tensor that is computed from those of a file, or of none of them.

    Parameters
    ----------
    names : sequence of str
        What it is computed from.
    entry : Entry
        What it is like.
    compute : callable
        ``compute(*arrays)`` returns it, of an array for each name.
    """

    names: Sequence[str]
    entry: Entry
    compute: Callable[..., NDArray[Any]]


def deviation(epsilon: float, variance: NDArray[Any]) -> NDArray[Any]:
    """Return ``sqrt(variance + epsilon)`` in float64."""
    with np.errstate(invalid="ignore"):  # of a negative variance, which is not finite then
        return np.sqrt(variance.astype(np.float64) + epsilon)


class Tensors(NamedTuple):
    """The tensors of an open file, none of them read yet.

    Parameters
    ----------
    path : str
    entries : mapping
        What the file says of each tensor, by name.
    read : callable
        ``read(names)`` returns the values of each: float16, float32 or
        float64, in either byte order; bfloat16 as float32.
    metadata : pair of str, optional
        Where our own text beside the tensors stands, for messages; the text.
    prefix : str
        What stands before each of the names in the file.
    """

    path: str
    entries: Mapping[str, Entry]
    read: Callable[[Sequence[str]], list[NDArray[Any]]]
    metadata: tuple[str, str] | None = None
    prefix: str = ""

    def place(self, name: str) -> str:
        """Return where a tensor stands, for messages."""
        return f"{self.path}: {shown(self.prefix + name)}"

    def both(self, first: str, second: str) -> InputError:
        """Return the error for two tensors of which there may be but one."""
        what = f"expected one of the two, {shown(first)} or {shown(second)}, got both"
        return InputError(self.path, what)

    def floats(self, name: str) -> Floats:
        """Read a tensor of finite numbers, in this machine's byte order."""
        (array,) = self.read([name])
        return in_dtype(self.place(name), array, np.dtype(f"f{max(4, array.dtype.itemsize)}"))

    def with_derived(self, derived: Mapping[str, Derived]) -> "Tensors":
        """Add tensors that are computed; one may stand in place of one of the file's."""

        def read(names: Sequence[str]) -> list[NDArray[Any]]:
            return [
                derived[name].compute(*self.read(derived[name].names))
                if name in derived
                else self.read([name])[0]
                for name in names
            ]

        entries = {name: each.entry for name, each in derived.items()}
        return self._replace(entries={**self.entries, **entries}, read=read)

    def under(self, layer: str | None) -> "Tensors":
        """Keep the tensors whose names begin ``layer.``, ``layer/`` or ``layer_``, without that.

        After ``layer_`` stands no more than the name of an array. None keeps
        all; an empty text those that stand in no module.
        """
        if layer is None:
            return self
        stem = layer.rstrip("./")
        prefixes = [f"{stem}{mark}" for mark in "/._"] if stem else [""]
        for prefix in prefixes:
            names = [name for name in self.entries if name.startswith(prefix)]
            if prefix in ("", f"{stem}_"):
                names = [name for name in names if not set("./") & set(name[len(prefix) :])]
            if names:
                break
        if not names:
            ends = [
                (name, mark.start()) for name in self.entries for mark in finditer("[/.]", name)
            ]
            modules = dict.fromkeys(name[:end] for name, end in ends)
            others = f"{layer}; it holds {listed(modules or self.entries)}"
            others = sentence("", others, did_you_mean(stem, modules))
            raise InputError(self.path, "holds no tensor", f" under `layer` {verbatim(others)}")
        if self.metadata:
            raise InputError(self.metadata[0], "describes the whole file", "leave `layer` out")
        return Tensors(
            self.path,
            {name.removeprefix(prefix): self.entries[name] for name in names},
            lambda names: self.read([prefix + name for name in names]),
            self.metadata,
            prefix,
        )
