"""Errors of bad input, and how messages name things."""

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

# Names that a message lists.
_LISTED = 8
# What other programs call something whose name is spelled otherwise here.
_OTHER_WORDS = {
    "simplernn": "rnn",
    "vanilla": "rnn",
    "tf": "tensorflow",
    **dict.fromkeys(("float", "single", "fp32", "f32"), "float32"),
    **dict.fromkeys(("double", "fp64", "f64"), "float64"),
    "tensorfloat32": "tf32",
    "identity": "linear",
    "logistic": "sigmoid",
    "swish": "silu",
    "reverse": "backward",
}
# What other programs have and rnn has not, though a name here is near; but for underscores.
_UNLIKE = {
    *("float16", "celu", "crelu", "glu", "hardshrink", "hardtanh", "logsigmoid", "prelu", "rrelu"),
    *("softmin", "softshrink", "sparsesigmoid"),
}
# How alike two near names are, from 0 to 1: one letter of three may differ.
_NEAR = 0.65
# Characters of a word of which one may be wrong.
_SHORTEST = 3
# Names that a wrong one is compared with, and their characters: a header may have millions.
_COMPARED, _LONGEST = 1000, 80
# Control characters, line ends of Unicode, marks that set the direction of writing, and bytes
# that are not UTF-8.
_CONTROLS = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

# What a package is needed for, and how it is installed.
_NEEDED = {
    "pyarrow": "Parquet and Arrow need PyArrow: pip install 'rnncli[arrow]'",
    "matplotlib": "figures need matplotlib: pip install 'rnncli[plot]'",
    **dict.fromkeys(("dask", "distributed"), "a cluster needs Dask: pip install 'rnncli[cluster]'"),
}


class InputError(ValueError):
    """Something given cannot be used.

    Parameters
    ----------
    place : str
        Where: a file with line and column, as far as they are known, or a
        parameter; empty where the message needs none.
    what : str
        What is wrong there.
    hint : str
        What to do about it, if that can be told. One that begins with a
        space continues the sentence; any other follows a semicolon.

    Notes
    -----
    A hint names parameters between backticks, as in "`missing` hold passes
    it"; the command line shows them as its options. Text of a user goes into
    a hint by `verbatim`. A place and what is wrong are shown as they are.
    """

    def __init__(self, place: str, what: str, hint: str = "") -> None:
        super().__init__(sentence(place, what, hint))
        self.place, self.what, self.hint = place, what, hint

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """Return what another process makes the same error of."""
        return type(self), (self.place, self.what, self.hint)


class NotFiniteError(ValueError):
    """A state or an output overflowed, or is not a number.

    Parameters
    ----------
    place : str
        Sequence and layer, where there are several, with a colon after each.
    step, unit : int
        The step counted from 1, the unit from 0.
    value : float
        What it is.
    array : str
        Which of the values of a step it is one of: ``h``, ``c`` or ``y``.
    """

    def __init__(self, place: str, step: int, unit: int, value: float, array: str = "h") -> None:
        of = "" if array == "h" else f" of {array}"
        super().__init__(f"{place}step {step}, unit {unit}{of}: overflow ({value})")


def check_installed(package: str, place: str = "") -> None:
    """Check that a package of an extra is installed."""
    try:
        __import__(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(sentence(place, _NEEDED[package], "")) from None


def sentence(place: str, what: str, hint: str) -> str:
    """Return the three as one line, as `str` of an error shows them."""
    mark = "" if not hint or hint.startswith(" ") else "; "
    return f"{place}: {what}{mark}{hint}" if place else f"{what}{mark}{hint}"


def choice(name: str, chosen: str, choices: Mapping[str, T]) -> T:
    """Look a name up."""
    if chosen not in choices:
        what = f"expected one of {', '.join(choices)}, got {chosen!r}"
        raise ValueError(sentence(name, what, did_you_mean(chosen, choices)))
    return choices[chosen]


def did_you_mean(wrong: str, names: Iterable[str], near: float = _NEAR) -> str:
    """Return a hint that asks whether a near name was meant; empty where none is near.

    Where two names are as near as each other, neither is. Names are as alike
    as `near`, from 0 to 1; by default one letter of three may differ.
    """
    word = wrong.lower()
    word = _OTHER_WORDS.get(word, word)
    compared = [name for name in islice(names, _COMPARED) if 0 < len(name) <= _LONGEST]
    if not compared or len(word) > _LONGEST or word.replace("_", "") in _UNLIKE:
        return ""
    nearness = {name: _nearness(word, name.lower()) for name in compared}
    first, *others = sorted(nearness, key=nearness.__getitem__, reverse=True)
    rest = nearness[others[0]] if others else 0.0
    return f"did you mean {first!r}?" if nearness[first] > max(near, rest) else ""


def _nearness(word: str, name: str) -> float:
    """Return how alike two names are; a name's beginning is nearly all of it."""
    from difflib import SequenceMatcher  # 2 ms, which only a mistake needs

    if len(word) < _SHORTEST:
        return float(word == name)
    begun = 0.95 if name.startswith(word) else 0.0
    return max(begun, SequenceMatcher(None, word, name).ratio())


def verbatim(text: str) -> str:
    """Return text of a user for a hint, in which its backticks mean nothing."""
    return text.replace("`", "``")


def shown(name: str, longest: int = 80) -> str:
    """Return a name that came from a file as a message can hold it: short, on one line."""
    half = longest // 2
    short = name if len(name) <= longest else f"{name[: half - 3]}...{name[-half:]}"
    return short if short.isprintable() and short else repr(short)


def listed(names: Iterable[str]) -> str:
    """List names for a message: the first few, and how many more there are."""
    all_names = list(names)
    more = len(all_names) - _LISTED
    text = ", ".join(map(shown, all_names[:_LISTED])) or "nothing"
    return f"{text} and {more} more" if more > 0 else text


def one_line(error: Exception) -> str:
    """Return the text of another library's error as a message can hold it."""
    return shown(" ".join(str(error).split()) or type(error).__name__, 200)


def printable(text: str) -> str:
    r"""Return text with each character that controls a terminal escaped: ``\x1b``.

    Besides control characters these are marks that set the direction of
    writing, and bytes that are not UTF-8, as a file's name may have them.
    """
    if text.isprintable():
        return text
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def on_a_line(text: str) -> str:
    """Return text of several lines as one printable line."""
    return printable(" ".join(line.strip() for line in text.split("\n")))
