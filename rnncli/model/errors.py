"""Errors of bad input, and functions that write their messages."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

# Replaces parameters between backticks in a text; the command line shows options for them.
WORDING: ContextVar[Callable[[str], str]] = ContextVar("wording", default=str)

# Names that a message lists, and the most choices beside a suggestion.
_LISTED, _SHORT = 8, 20
# Names that users know a thing by, and its names here, the first of which counts.
_ALIASES = {
    "pytorch": ("torch",),
    "tf": ("tensorflow", "keras"),
    "tensorflow": ("keras",),
    **dict.fromkeys(("onnx", "ort"), ("onnxruntime",)),
    **dict.fromkeys(("elman", "vanilla", "simple", "simplernn", "simple_rnn"), ("rnn",)),
    **dict.fromkeys(("both", "bi", "bilstm"), ("bidirectional",)),
    **dict.fromkeys(("reverse", "reversed", "backwards"), ("backward",)),
    **dict.fromkeys(("double", "fp64", "f64"), ("float64",)),
    **dict.fromkeys(("single", "float", "fp32", "f32"), ("float32",)),
    **dict.fromkeys(("average", "mean"), ("ave",)),
    "add": ("sum",),
    "multiply": ("mul",),
    "swish": ("silu",),
    **dict.fromkeys(("text", "txt"), ("table",)),
    **dict.fromkeys(("ndjson", "jsonlines"), ("jsonl",)),
    "markdown": ("md",),
    "feather": ("arrow",),
    **dict.fromkeys(("numpy", "np"), ("npy", "stepwise")),
    "none": ("linear",),
    "float16": (),  # of which bfloat16 is none
    "comma": (",",),
    **dict.fromkeys(("point", "dot", "period"), (".",)),
    **dict.fromkeys(("skip", "drop", "ignore"), ("hold",)),
    **dict.fromkeys(("yes", "true"), ("header",)),
    **dict.fromkeys(("no", "false"), ("data",)),
}
# Names that a wrong one is compared with, and characters of each: a header may have millions.
_COMPARED, _LONGEST = 1000, 80
# Control characters, line ends of Unicode, marks that set the direction of writing, and bytes
# that are not UTF-8.
_CONTROLS = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# How to install the packages of extras.
_NEEDED = {
    "pyarrow": "Parquet and Arrow need PyArrow: pip install 'rnncli[arrow]'",
    "matplotlib": "figures need matplotlib: pip install 'rnncli[plot]'",
    "distributed": "a cluster needs Dask: pip install 'rnncli[cluster]'",
}


class InputError(ValueError):
    """Bad input, told in one line: the place, the mistake and a way out.

    Parameters
    ----------
    where : str
        A file with line and column, as far as they are known, or a
        parameter; empty where the message needs none.
    what : str
        The mistake there.
    hint : str
        The way out, if there is one. A hint that begins with a space
        continues the sentence; any other follows a semicolon.

    Notes
    -----
    A hint names parameters between backticks, as in "`missing` hold passes
    it", which `word` shows. Text of a user goes into a hint by `verbatim`. The
    position and the mistake are shown as they are.
    """

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        super().__init__(where, what, hint)
        self.where, self.what, self.hint = where, what, hint

    def __str__(self) -> str:
        return sentence(self.where, self.what, word(self.hint))


class OpenInputError(InputError):
    """A model file leaves open how many features a step has."""


class OptionError(ValueError):
    """Options that do not go together; the message names parameters between backticks."""

    def __str__(self) -> str:
        return word(super().__str__())


class NotFiniteError(ValueError):
    """A value of `array` (h, c or y) is not finite; `where` ends with a colon and a space."""

    def __init__(self, where: str, step: int, unit: int, value: float, array: str = "h") -> None:
        of = "" if array == "h" else f" of {array}"
        super().__init__(f"{where}step {step}, unit {unit}{of}: overflow ({value})")


def check_installed(package: str, where: str = "") -> None:
    """Check that a package of an extra is installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ImportError(sentence(where, _NEEDED[package], ""))


def word(text: str) -> str:
    """Show the parameters between backticks of a text as the user writes them."""
    return WORDING.get()(text)


def sentence(where: str, what: str, hint: str) -> str:
    """Join position, mistake and hint of an error into one line."""
    mark = "" if not hint or hint.startswith(" ") else "; "
    return f"{where}: {what}{mark}{hint}" if where else f"{what}{mark}{hint}"


def choice(name: str, chosen: str, choices: Mapping[str, T]) -> T:
    """Look a name up."""
    if chosen not in choices:
        hint = did_you_mean(chosen, choices)
        names = f"there is no {chosen!r}" if hint and len(choices) > _SHORT else ""
        names = names or f"expected one of {', '.join(choices)}, got {chosen!r}"
        raise ValueError(sentence(name, names, hint))
    return choices[chosen]


def did_you_mean(wrong: str, names: Iterable[str]) -> str:
    """Return a hint with similar names; empty if there are none."""
    from difflib import get_close_matches  # 2 ms, which only a mistake needs

    lower = {name.lower(): name for name in islice(names, _COMPARED) if len(name) <= _LONGEST}
    word = wrong.lower()[:_LONGEST]
    near = [name for name in _ALIASES.get(word, ()) if name in lower][:1]
    if not near and _ALIASES.get(word) != ():
        begin = [name for name in lower if len(word) > 2 and name.startswith(word)]
        edits = {name: _count_edits(word, name) for name in get_close_matches(word, lower, 9)}
        letters = len(word.partition(".")[0] or word[1:])
        most = min(1 + letters // 6, (letters - 1) // 2)
        edits = {name: n for name, n in edits.items() if n <= most}
        near = begin[:3] or [name for name, n in edits.items() if n == min(edits.values())][:3]
    return f"did you mean {' or '.join(repr(lower[name]) for name in near)}?" if near else ""


def near_file(path: str, accept: Callable[[str], bool] = bool) -> str:
    """Return a hint with files of similar names in the folder of a file that is missing."""
    folder, name = os.path.split(path)
    if folder.startswith("~"):
        return "in quotes ~ is no home folder, $HOME is"
    with suppress(OSError):
        names = [] if os.path.lexists(path) else os.listdir(folder or os.curdir)
        digits = re.sub(r"\D", "", name)  # another number is another file, not a slip
        return verbatim(
            did_you_mean(
                name, [n for n in names if re.sub(r"\D", "", n) == digits and accept(n.lower())]
            )
        )
    return ""


def _count_edits(a: str, b: str) -> int:
    """Count the letters that are missing, added, replaced or exchanged between two words."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
            if i > 1 < j and x == b[j - 2] and a[i - 2] == y:
                row[-1] = min(row[-1], before[j - 2] + 1)
        before, last = last, row
    return int(last[-1])


def verbatim(text: str) -> str:
    """Escape the backticks in a text of the user, for a hint."""
    return text.replace("`", "``")


def shown(name: str, longest: int = 80) -> str:
    """Shorten a name that came from a file, and escape it if it is not printable."""
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
    """Return the message of an error of another library on one line."""
    return shown(" ".join(str(error).split()) or type(error).__name__, 200)


def printable(text: str) -> str:
    r"""Escape each character that controls a terminal: ``\x1b``."""
    if text.isprintable():
        return text
    return _CONTROLS.sub(lambda match: repr(match[0])[1:-1], text)


def on_a_line(text: str) -> str:
    """Return text of several lines as one printable line."""
    return printable(" ".join(line.strip() for line in text.split("\n")))
