"""Fields in the bytes of text: where they are, and what stands there."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Integers

Words: TypeAlias = NDArray[np.uint64]
WORD = np.dtype("<u8")  # eight bytes of text, the first one lowest
# The bytes of a field of n characters in two words.
_BYTES = np.array([[255] * n + [0] * (16 - n) for n in range(17)], np.uint8).view(WORD)

_FIRST = np.zeros(1, np.intp)  # where the first field starts


def find_fields(text: bytes, mark: str, width: int) -> tuple[Integers, Integers] | None:
    """Find where the fields of lines start and end, (n, width); None unless all have as many."""
    chars = np.frombuffer(text, np.uint8)
    is_newline = chars == ord("\n")
    (ends,) = (is_newline | (chars == ord(mark))).nonzero()
    lines = np.count_nonzero(is_newline)
    if not lines or lines * width != len(ends) or not is_newline[ends[width - 1 :: width]].all():
        return None
    starts = np.concatenate([_FIRST, ends[:-1] + 1])
    return starts.reshape(-1, width), ends.reshape(-1, width)


def view_bytes(text: bytes, width: int) -> NDArray[Any]:
    """View so many bytes from each byte on."""
    return np.ndarray((len(text) - width + 1,), f"V{width}", text, strides=(1,))


def stands_at(text: bytes, starts: Integers, mark: bytes) -> bool:
    """Return whether `mark` starts at each of these bytes."""
    return not mark or view_bytes(text, len(mark))[starts].tobytes() == mark * len(starts)


def slice_text(text: bytes, starts: Integers, ends: Integers) -> list[str]:
    """Return the texts of fields."""
    fields = zip(starts.tolist(), ends.tolist(), strict=True)
    if not text.isascii():
        return [text[start:end].decode() for start, end in fields]
    letters = text.decode()
    return [letters[start:end] for start, end in fields]


def read_words(text: bytes, starts: Integers, ends: Integers) -> Words | None:
    """Read fields of up to 16 bytes as two words each, (n, 2); None if one is longer."""
    lengths = ends - starts
    if lengths.max(initial=0) > 16:
        return None
    words = view_bytes(text + b"\0" * 16, 16)[starts].view(WORD).reshape(-1, 2)
    return words & _BYTES.take(lengths, axis=0)
