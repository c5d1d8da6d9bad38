"""The parts of a model in a file: which of them are the network, and why the others are not."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rnncli.model.errors import (
    InputError,
    did_you_mean,
    listed,
    sentence,
    verbatim,
)
from rnncli.model.formats.spec import PICK, LayerSpec
from rnncli.model.formats.tensors import Tensors

NOTHING = "does nothing at inference"


class Part(NamedTuple):
    """A layer, a module or a node of a model, as its file has it.

    Parameters
    ----------
    name : str
        The file's own; what `layer` picks it by.
    kind : str
        What its framework calls such a thing: ``LSTM``, ``nn.Linear``.
    tensors : sequence of str
        Names of those that belong to it.
    layers : sequence of LayerSpec
        What it is here, the bottom one first.
    why : str
        Where it has none: why it is passed over or cannot be run.
    hint : str
        What to do about that, as in `InputError`.
    needed : bool
        Whether the model cannot be run without it, though there are no
        layers for it.
    """

    name: str
    kind: str
    tensors: Sequence[str] = ()
    layers: Sequence[LayerSpec] = ()
    why: str = ""
    hint: str = ""
    needed: bool = False

    @property
    def recurrent(self) -> bool:
        """Whether one of its layers has a state."""
        return any(layer.cells for layer in self.layers)


class Stack(NamedTuple):
    """Recurrent layers that belong together, as the names of tensors tell.

    Parameters
    ----------
    labels : tuple of str
        What picks it, or a part of it.
    find : callable
        Returns its parts, the bottom one first, and a sentence for each thing
        taken for granted; raises InputError where they do not go together.
    """

    labels: tuple[str, ...]
    find: Callable[[], tuple[Sequence[Part], Sequence[str]]]


class Model(NamedTuple):
    """What is found in a file.

    Parameters
    ----------
    tensors : Tensors
        Those that the parts name.
    parts : sequence of Part
        Each takes what the one before gives, as far as that is known.
    title : str
        What wrote the file, or what it is: ``Keras 3.15.1``.
    ordered : bool
        Whether the file tells that order. Where it does not, one of the parts
        alone may be recurrent.
    last : {None, "state", "step"}
        As for `Network`.
    notes : sequence of str
        A sentence for each thing taken for granted.
    expected : str
        Ends the message that there is no recurrent layer: what was looked for.
    beside : sequence of str
        Paths of other files that hold its tensors.
    """

    tensors: Tensors
    parts: Sequence[Part]
    title: str = ""
    ordered: bool = True
    last: str | None = None
    notes: Sequence[str] = ()
    expected: str = ""
    beside: Sequence[str] = ()

    def picked(self, layer: str | None) -> "Model":
        """Keep the parts named so, or in a module named so; all of them for None."""
        if layer is None:
            return self
        stem = layer.rstrip("./")
        within = (f"{stem}.", f"{stem}/")
        parts = [part for part in self.parts if part.name == stem or part.name.startswith(within)]
        if not parts:
            names = self.names()
            others = sentence("", f"{stem}; it has {listed(names)}", did_you_mean(stem, names))
            raise InputError(self.tensors.path, "has no layer", f" {verbatim(others)}")
        rest = self.parts[self.parts.index(parts[-1]) + 1 :]
        whole = not any(part.layers or part.needed for part in rest)
        return self._replace(parts=parts, last=self.last if whole else None)

    def names(self) -> list[str]:
        """Return the names of the parts that can be picked to be run."""
        return [part.name for part in self.parts if part.layers or part.needed]

    def layers(self) -> list[LayerSpec]:
        """Return the layers of the network."""
        path = self.tensors.path
        recurrent = [part.name for part in self.parts if part.recurrent]
        needed = [part for part in self.parts if part.needed and not part.layers]
        if needed:
            first = needed[0]
            names = [part.name or part.kind for part in needed if part.why == first.why]
            place = f"{path}: {listed(names)}" if any(names) else path
            others = f"{PICK}: {verbatim(listed(recurrent))}" if recurrent else ""
            raise InputError(place, first.why, first.hint or others)
        if not recurrent and (self.expected or not any(part.layers for part in self.parts)):
            got = listed(
                (f"{part.name} ({part.kind})" if part.name else part.kind) if part.kind else name
                for part in self.parts
                for name in part.tensors or [part.name]
            )
            raise InputError(path, f"holds no recurrent layer{self.expected}, got {got}")
        if len(recurrent) > 1 and not self.ordered:
            raise InputError(path, f"holds several recurrent modules: {listed(recurrent)}", PICK)
        return [layer for part in self.parts for layer in part.layers]


# find(layer): what is in an open file, or in a part of it that is named so.
Find = Callable[[str | None], Model]
