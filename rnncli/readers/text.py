r"""Lines of text from a file, compressed or not, or from standard input, in UTF-8.

``\r\n`` and ``\r`` become ``\n``, as in Python's own text files.
"""

import codecs
import io
import os
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rnncli.model.errors import InputError, verbatim
from rnncli.readers.input import UTF_8, display_name

# The first bytes of compressed text, and the modules that read it.
COMPRESSED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "lzma"}
COMPRESSED |= {b"BZh%d1AY&SY" % level: "bz2" for level in range(1, 10)}
COMPRESSED[b"\x28\xb5\x2f\xfd"] = "compression.zstd"  # from Python 3.14 on
_WIDE = ("utf-16", "utf-32")
# The first bytes of other data, the encodings that may begin so, their kind, and the way out.
_STARTS = (
    ((b"\xff\xfe", b"\xfe\xff"), _WIDE, "UTF-16 text", "`encoding` utf-16 reads it"),
    (codecs.BOM_UTF8, UTF_8, "UTF-8 text", "leave `encoding` out"),
    (b"PK\x03\x04", (), "a zip archive (.xlsx, .npz?)", "export it as CSV"),
)
# The first line of other text, its kind, and the way out.
_FIRST_LINES = ((r"(?i)(<!doctype|<html|<\?xml)", "HTML or XML (an error page?)", ""),)
_ARRAY = r"\[\s*([\[{\]]|.*,\s*$|$)"
_JSON_LINE = r'\s*(\{|\[\s*([\d"-]|null|true|false).*\]\s*$)'
_CHUNK = 1 << 20
# Bytes of a line, and cells of a row: while it is read, a cell takes up to 600 bytes of memory.
MOST_IN_A_LINE = 1 << 25
MOST_CELLS = 1 << 20
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


def _as_surrogates(error: Any) -> tuple[str, int]:
    """Decode the bytes from a bad one on as surrogates, which no text has."""
    rest = error.object[error.start :]
    return "".join(chr(byte and 0xDC00 | byte) for byte in rest), len(error.object)


codecs.register_error("rnncli", _as_surrogates)


def _open_packed(module: str, file: io.BufferedReader) -> Any:
    """Open compressed text by a module of Python, or zstd by PyArrow."""
    if find_spec(module.partition(".")[0]) is not None:
        return import_module(module).open(file)
    if find_spec("pyarrow") is None:
        hint = "zstd -dc unpacks it: pipe its output to rnn"
        raise InputError("", "expected CSV or JSON lines, found zstd", hint)
    from rnncli.readers.arrow import open_zstd

    return open_zstd(file)


def check_cells(delimiters: int, where: str) -> None:
    """Check the number of cells of a row before it is split at its delimiters."""
    if delimiters >= MOST_CELLS:
        raise InputError(where, f"a row of more than {MOST_CELLS:,} cells", "expected a step a row")


class Lines:
    """Lines of a text file, taken one or many at a time."""

    def __init__(self, file: io.BufferedReader, path: str, encoding: str = UTF_8) -> None:
        self.path, self.name, self._encoding = path, display_name(path), encoding
        self.line = 1  # number of the next one
        self._text, self._at = b"", 0  # text that is read, and how many bytes of it are taken
        self._damage: Exception | str | None = None  # an error, or the text from a bad byte on
        data: Any = file
        try:
            packed = file.peek(10)
            for mark in filter(packed.startswith, COMPRESSED):
                data = _open_packed(COMPRESSED[mark], file)
            start = data.peek(8)
        except InputError as error:
            raise InputError(self.name, error.what, error.hint) from None
        except Exception as error:  # each module has errors of its own
            raise InputError(self.name, f"cannot be read: {error}") from error
        for marks, encodings, kind, hint in _STARTS:
            if start.startswith(marks) and not codecs.lookup(encoding).name.startswith(encodings):
                raise self._not_text(self.name, kind, hint)
        self._size = os.path.getsize(path) if data is file and os.path.isfile(path) else 0
        self._bytes_read, self._chunks = 0, self._decode(data)

    def take(self, size: int = 1) -> bytes:
        """Take whole lines of about `size` bytes, at least one; fewer before the end or damage."""
        end = self._text.find(b"\n", self._at + size - 1) + 1 or self._fill(size)
        lines = self._text[self._at : end]
        self._at = end
        self.line += lines.count(b"\n")
        return lines

    def peek(self, delimiter: str | None = None) -> str:
        """Look at the next line that is not blank."""
        while True:
            end = self._text.find(b"\n", self._at) + 1 or self._fill(1)
            line = self._text[self._at : end].decode()
            if not line:
                raise InputError(self.name, "empty; expected rows of numbers")
            # Tabs alone are the delimiters of a row whose cells are all empty.
            if line.strip() or (delimiter or "\t") in line.strip(" \n"):
                break
            self.take()
        if self.line == 1 and self._encoding == UTF_8 and self._is_array(line.strip()):
            self._split_array()
            return self.peek(delimiter)
        for pattern, kind, hint in _FIRST_LINES:
            if re.match(pattern, line.strip()):
                raise self._not_text(self.name, kind, hint)
        return line

    def _is_array(self, line: str) -> bool:
        """Return whether a first line begins a JSON array; numbers alone are one in ``.json``."""
        if re.match(_ARRAY, line):
            return True
        if not (re.search(r"\.json\b", self.path.lower()) and re.fullmatch(r"\[[^][{}]*\]", line)):
            return False
        self._fill(len(self._text) - self._at + 1)  # JSON lines go on
        return self._text[self._at :].decode().strip() == line

    def _split_array(self) -> None:
        """Read a JSON array of rows to its end, and go on with its items as lines."""
        from rnncli.readers.documents import MOST, split_array

        chunks = [self._text[self._at :]]
        while len(chunks[-1]) and sum(map(len, chunks)) <= MOST:
            chunks.append(next(self._chunks, b""))
        if chunks[-1]:
            what = f"a JSON array of more than {MOST >> 20} MiB"
            raise InputError(self.name, what, "jq -c '.[]' makes JSON lines of it")
        if self._damage:
            raise InputError(self.name, "a JSON array that is not UTF-8 text to its end")
        self._text, self._at = split_array(b"".join(chunks).decode(), self.name).encode(), 0

    def is_json(self, line: str) -> bool:
        """Return whether a file with this first line, or of this name, holds JSON lines."""
        by_name = re.search(r"\.(jsonl|ndjson)\b", self.path.lower())
        return bool(by_name or re.match(_JSON_LINE, line))

    def share(self, _: int) -> float | None:
        """Return the share of the file that has been read; None if its size is not known."""
        return min(1.0, self._bytes_read / self._size) if self._size else None

    def _fill(self, size: int) -> int:
        """Read on until there are lines of `size` bytes; return where they end."""
        chunks = [self._text[self._at :]]
        length, has_line = len(chunks[0]), b"\n" in chunks[0]
        while (length < size or not has_line) and length <= MOST_IN_A_LINE + size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            chunks.append(chunk)
            length, has_line = length + len(chunk), has_line or b"\n" in chunk
        self._text, self._at = b"".join(chunks), 0
        where = f"{self.name}:{self.line}"
        if length > MOST_IN_A_LINE and not 0 <= self._text.find(b"\n") <= MOST_IN_A_LINE:
            what = f"a line of more than {MOST_IN_A_LINE >> 20} MiB"
            raise InputError(where, what, "expected a step a line")
        if isinstance(self._damage, str) and not has_line:
            if "\0" in self._damage and not codecs.lookup(self._encoding).name.startswith(_WIDE):
                raise self._not_text(where, "binary data")
            what = f"the byte {ord(self._damage[0]) & 255:#04x}, which is not {self._encoding}"
            is_default = self._encoding == UTF_8
            raise self._not_text(where, what, "`encoding` cp1252 may read it" if is_default else "")
        if self._damage and not has_line:
            raise InputError(self.name, f"cannot be read: {self._damage}")
        return self._text.find(b"\n", size - 1) + 1 or self._text.rfind(b"\n") + 1

    def _decode(self, data: Any) -> Iterator[bytes]:
        """Decode chunks of a file up to its end, a NUL or a byte that is no text."""
        decoder = codecs.getincrementaldecoder(self._encoding)("rnncli")
        newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
        chunk, last, mark = b"?", "\n", "\ufeff"
        while chunk and not self._damage:
            try:
                chunk = data.read1(_CHUNK)
                if not mark and self._is_decoded(chunk) and newlines.getstate() == (b"", 0):
                    self._bytes_read, last = self._bytes_read + len(chunk), chunk[-1:].decode()
                    yield chunk
                    continue
                text = newlines.decode(chunk, final=not chunk)
            except Exception as error:  # of a decompressor or a decoder
                self._damage = error
                return
            self._bytes_read += len(chunk)
            if text:
                text, mark = text.removeprefix(mark), ""
            if (not text.isascii() or "\0" in text) and (bad := _NO_TEXT.search(text)):
                self._damage, text = text[bad.start() :], text[: bad.start()]
            last = text[-1:] or last
            yield (text if chunk or last == "\n" or self._damage else text + "\n").encode()

    def _is_decoded(self, chunk: bytes) -> bool:
        """Return whether a chunk is UTF-8 with the ends of lines that it is to have."""
        is_ascii = self._encoding == UTF_8 and chunk.isascii()
        return is_ascii and chunk != b"" and b"\r" not in chunk and b"\0" not in chunk

    def _not_text(self, where: str, what: str, hint: str = "") -> InputError:
        """Return the error for data that is not text; a file named like a model gets a hint."""
        from rnncli.model.formats.load import is_model  # 5 ms that reading text does not need

        if is_model(self.path):
            hint = f"is it a model? give `weights` {verbatim(self.path)}"
        return InputError(where, f"expected CSV or JSON lines, found {what}", hint)
