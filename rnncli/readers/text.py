r"""Lines of text from a file, compressed or not, or from standard input, in UTF-8.

``\r\n`` and ``\r`` become ``\n``, as in Python's own text files.
"""

import codecs
import io
import os
from collections.abc import Iterator
from itertools import chain

import numpy as np

from rnncli.model.errors import InputError
from rnncli.readers.foreign import UTF_8, decompress, display_name
from rnncli.readers.hints import check_start, not_text

_PIECE = 1 << 20
# Bytes. A row takes some twenty times as much memory while it is read.
MOST_IN_A_LINE = 1 << 25


class Lines:
    """Lines of a text file, taken one or many at a time."""

    def __init__(self, file: io.BufferedReader, path: str, encoding: str = UTF_8) -> None:
        self.line = 1  # number of the next one
        plain = encoding == UTF_8 and os.path.isfile(path) and decompress(file, path) is file
        self._size = os.path.getsize(path) if plain else 0
        self._bytes_read = 0  # of UTF-8
        self._file, self._path, self._encoding = file, path, encoding
        self._pieces = self._decode()
        self._text, self._at = b"", 0  # what is read, and how much of it is taken
        self._damage: InputError | None = None
        self._bad: bytes | None = None  # bytes from one on that is no text

    def take(self, size: int = 1) -> bytes:
        """Take whole lines of about `size` bytes, at least one; fewer at the end or before damage.

        The next call raises the damage.
        """
        end = self._text.find(b"\n", self._at + size - 1) + 1 or self._fill(size)
        taken = self._text[self._at : end]
        self._at = end
        self.line += 1 if size == 1 and taken else count_lines(taken)
        return taken

    def put_back(self, text: bytes) -> None:
        """Return whole lines: they come next again."""
        self._text, self._at = text + self._text[self._at :], 0
        self.line -= count_lines(text)

    def share(self, _: int) -> float | None:
        """Return the share of the file that has been read; None where its size says nothing."""
        return min(1.0, self._bytes_read / self._size) if self._size else None

    def _fill(self, size: int) -> int:
        """Read on until there are lines of `size` bytes; return where they end."""
        parts = [self._text[self._at :]]
        length, has_line = len(parts[0]), b"\n" in parts[0]
        while (length < size or not has_line) and length <= MOST_IN_A_LINE + size:
            try:
                piece = next(self._pieces, b"")
            except InputError as damage:
                self._damage, piece = damage, b""
            if not piece:
                break
            parts.append(piece)
            length, has_line = length + len(piece), has_line or b"\n" in piece
        text = b"".join(parts)
        self._text, self._at = text, 0
        if length > MOST_IN_A_LINE and not 0 <= text.find(b"\n") <= MOST_IN_A_LINE:
            is_json = text.lstrip().startswith((b"{", b"["))
            way_out = "" if is_json else " (tr , '\\n' gives each cell a line of its own)"
            hint = f"expected a step a line{way_out}"
            what = f"a line of more than {MOST_IN_A_LINE >> 20} MiB"
            raise InputError(f"{display_name(self._path)}:{self.line}", what, hint)
        if self._damage and not has_line:
            raise self._damage
        if self._bad is not None and not has_line:
            raise not_text(self._path, self.line, self._bad, self._encoding)
        return text.find(b"\n", size - 1) + 1 or text.rfind(b"\n") + 1

    def _decode(self) -> Iterator[bytes]:
        """Decode pieces of the file up to the end, or a byte that is no text, or is NUL."""
        decoder = codecs.getincrementaldecoder(self._encoding)()
        begun, last = False, "\n"
        for piece in chain(_pieces(self._file, self._path, self._encoding), [b""]):
            text, self._bad = _decode(decoder, piece)
            if text:
                text = text.removeprefix("\n" if last == "\r" else "" if begun else "\ufeff")
                begun, last = True, text[-1:] or "\n"
                text = text.replace("\r\n", "\n").replace("\r", "\n")
            if not piece and self._bad is None and last not in "\r\n":
                text += "\n"
            if raw := text.encode():
                self._bytes_read += len(raw)
                yield raw
            if self._bad is not None:
                return


def _decode(decoder: codecs.IncrementalDecoder, piece: bytes) -> tuple[str, bytes | None]:
    """Decode a piece, none at the end; return what follows from a byte on that is no text."""
    state, bad = decoder.getstate(), None
    try:
        text = decoder.decode(piece, not piece)
        text.encode()  # a half of a pair in UTF-16 is no text
    except UnicodeDecodeError as error:
        decoder.setstate(state)
        text = decoder.decode(piece[: max(0, error.start - len(state[0]))])
        bad = error.object[error.start :] if piece else b""
    except UnicodeError:  # there is no byte order mark where one is needed
        text, bad = "", piece
    text, nul, behind = text.partition("\0")
    return text, (nul + behind).encode() + (bad or b"") if nul else bad


def _pieces(file: io.BufferedReader, path: str, encoding: str) -> Iterator[bytes]:
    """Read pieces of a file, each as soon as it is there."""
    try:
        data = decompress(file, path)
        check_start(data.peek(8), path, encoding)
        while piece := data.read1(_PIECE):
            yield piece
    except InputError:
        raise
    except Exception as error:  # each library that decompresses has errors of its own
        raise InputError(display_name(path), f"cannot be read: {error}") from error


def count_lines(text: bytes) -> int:
    """Count lines; `bytes.count` takes ten times as long where they are short."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))
