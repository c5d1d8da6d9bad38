"""A layer of a Keras model, and what goes from one to the next."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from rnncli.model.errors import InputError
from rnncli.model.formats.keras.places import Arrays, Place
from rnncli.model.formats.keras.settings import Settings
from rnncli.model.formats.spec import LayerSpec


class Flow(NamedTuple):
    """What goes from a layer to the next one.

    Parameters
    ----------
    axes : int
        3 where it is a row for each step, (N, T, I), and 2 where a layer has
        given one row a sequence.
    masked : str
        The layer that masks rows; empty where none does.
    reversed : bool
        Whether rows stand from the last step to the first.
    features : int
        In a row; 0 where that is not known.
    recurrent : str
        The highest recurrent layer below; empty where there is none.
    """

    axes: int = 3
    masked: str = ""
    reversed: bool = False
    features: int = 0
    recurrent: str = ""


class Layer(NamedTuple):
    """A layer of a model, as its config has it.

    Parameters
    ----------
    name, kind : str
        Its own name, and that of its class.
    settings : Settings
    place : Place
        Where its arrays lie.
    arrays : Arrays
        Of the file.
    flow : Flow
        What it takes.
    """

    name: str
    kind: str
    settings: Settings
    place: Place
    arrays: Arrays
    flow: Flow

    def within(self, name: str, part: str) -> "Layer":
        """Return the layer that this one has as a setting, and its arrays in such a part."""
        kind, settings = self.settings.inner(name)
        return self._replace(kind=kind, settings=settings, place=self.place.inside(part))

    def take_sequence(self) -> None:
        """Check that there is a row for each step."""
        if self.flow.axes != 3:
            what = "takes a row for each step, and the layers below give one row a sequence"
            raise InputError("", what)


# What a layer is here, and what goes on to the next one.
Made: TypeAlias = tuple[Sequence[LayerSpec], Flow]
# InputError: it cannot be run, and why.
Maker: TypeAlias = Callable[[Layer], Made]
