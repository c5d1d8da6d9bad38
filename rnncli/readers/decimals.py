"""Numbers in text, read by array operations: each is what `float` returns, to the bit.

`writers.digits` is the inverse. A plain field is ``[-]digits[.digits]``, of at most 23 characters
after the sign; `float` reads every other one. Its last 8, 16 or 24 bytes are *words*, the last
character being the highest byte. Here is the word of ``-12.375``; ``*`` is a byte over 9::

    byte                     0   1   2   3   4   5   6   7
    text                     ,   -   1   2   .   3   7   5
    digits                   0   0   1   2   *   3   7   5      and 0 before them
    without the point        0   0   0   1   2   3   7   5      bytes before it move up by one
    numbers of 2 digits      0       1       23      75
    numbers of 4 digits      1               2375
    a number of 8 digits     12375                              to be divided by 1000

Below 2**53 the number of all digits is a float, as are powers of ten up to 10**22: their quotient
is what `float` returns. From there on the remainder of the division corrects the quotient, and
`float` reads those that are too near to the middle of two floats.

Sources: Lemire (2018), "Quickly parsing eight digits", and Dekker (1971), "A floating-point
technique for extending the available precision".
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Doubles, Integers, Truths
from rnncli.readers.fields import WORD, Words, slice_text, view_bytes

_CACHED = 8192  # fields that are read at once: more leave the cache
_LONGEST = 23  # characters, so that at most 22 are decimals
_PADDING = 24  # bytes before the text, so that three words end at any field


def _word(value: Any) -> Any:
    return np.array(value, WORD)  # NumPy takes longer to convert a number


# The same byte eight times.
_EACH_0, _EACH_1, _EACH_118, _EACH_128 = (
    _word(byte * 0x0101010101010101) for byte in (ord("0"), 1, 118, 128)
)
# Numbers of n digits side by side become numbers of 2 n: a factor, a shift and a mask.
_JOIN = [
    (_word(10**n * (1 << 8 * n) + 1), _word(8 * n), _word(mask))
    for n, mask in ((1, 0x00FF00FF00FF00FF), (2, 0x0000FFFF0000FFFF), (4, 0xFFFFFFFF))
]
_POWERS = _word([10**16, 10**8, 1])[:, None]
# The bytes of a field of n characters at the end of three words.
_BYTES = np.array([[0] * (24 - n) + [255] * n for n in range(25)], np.uint8).view(WORD).T.copy()
# What to divide by if n of 8, 16 or 24 bytes are before the decimals, and by 1 if none are.
_DIVISORS = {
    end: np.array([1.0, *(10.0 ** min(22, end - n) for n in range(1, end + 1))])
    for end in (8, 16, 24)
}
_ALL, _NEGATIVE, _BYTE, _SEVEN_BYTES, _ONE = map(_word, (2**64 - 1, 1 << 63, 8, 56, 1))
# Integers up to here are floats. The first word of three is below 922, so that all fit 63 bits.
_EXACT, _MOST = 1 << 53, 922
_CUT = float((1 << 27) + 1)  # a product with it cuts a float in half


def read_decimals(
    text: bytes,
    starts: Integers,
    ends: Integers,
    parse: Callable[[list[str]], Doubles | None],
    decimal: str = ".",
) -> Doubles | None:
    """Read fields as numbers, NaN where one is empty.

    `parse` reads the texts of fields that are not plain; None if it does not read one of them.
    """
    padded, point = b"\0" * _PADDING + text, _word(ord(decimal) ^ ord("0")) * _EACH_1
    values, slow = np.empty(len(starts)), np.empty(len(starts), bool)
    for n in range(0, len(starts), _CACHED):
        some = slice(n, n + _CACHED)
        values[some], slow[some] = _read(padded, starts[some], ends[some], point)
    if slow.any():
        parsed = parse(slice_text(text, starts[slow], ends[slow]))
        if parsed is None:
            return None
        values[slow] = parsed
    return values


def _read(text: bytes, starts: Integers, ends: Integers, point: Any) -> tuple[Doubles, Truths]:
    """Read fields behind `_PADDING`; return also which of them are not plain."""
    empty = starts == ends
    negative = np.frombuffer(text, np.uint8).take(starts + _PADDING) == ord("-")
    negative &= ~empty
    length = ends - starts - negative
    slow = (length < 1) | (length > _LONGEST)
    length[slow] = 1
    count = -(-int(length.max()) // 8)
    size = 8 * count
    fields = view_bytes(text, size)[ends + (_PADDING - size)].view(WORD).reshape(-1, count)
    words = np.bitwise_xor(fields.T, _EACH_0, order="C")
    words &= _BYTES[-count:].take(length, axis=1)
    digits, before = _remove_points(words, point)
    slow |= length <= (before > 0)
    slow |= ((digits | digits + _EACH_118) & _EACH_128).any(axis=0)
    for factor, shift, mask in _JOIN:
        digits = digits * factor >> shift & mask
    if count == 3:
        slow |= digits[0] >= _MOST
    numbers = (digits * _POWERS[-count:]).sum(axis=0).view(np.int64)
    divisors = _DIVISORS[size].take(before)
    values: Doubles = numbers / divisors
    long = np.flatnonzero((numbers >= _EXACT) & ~slow)
    if len(long):
        values[long], slow[long] = _divide(numbers[long], divisors[long])
    values.view(WORD)[:] |= negative * _NEGATIVE
    values[empty] = np.nan
    return values, slow & ~empty


def _remove_points(words: Words, point: Any) -> tuple[Words, NDArray[np.uint8]]:
    """Move the bytes before a point over it; count the bytes up to it."""
    zero = words ^ point
    mark = (zero - _EACH_1) & ~zero & _EACH_128  # its lowest bit is in the byte of the point
    up_to = mark ^ (mark - _ONE)  # all of a word without a point
    moves = mark != 0
    for n in reversed(range(len(words) - 1)):  # a point in a later word moves all of this one
        moves[n] |= moves[n + 1]
        up_to[n] |= moves[n + 1] * _ALL
    up_to *= moves
    moved = words << _BYTE
    moved[1:] |= words[:-1] >> _SEVEN_BYTES
    before = np.bitwise_count(up_to).sum(axis=0, dtype=np.uint8) >> 3
    return words ^ ((words ^ moved) & up_to), before


def _divide(numbers: NDArray[np.int64], divisors: Doubles) -> tuple[Doubles, Truths]:
    """Divide integers by powers of ten; return also which quotients may be another float."""
    high = numbers.astype(np.float64)
    low = (numbers - high.astype(np.int64)).astype(np.float64)
    quotient = high / divisors
    product = quotient * divisors
    # What `product` lacks, from the halves of its factors, whose products are exact.
    q, d = (_CUT * each - (_CUT * each - each) for each in (quotient, divisors))
    q_low, d_low = quotient - q, divisors - d
    lacks = ((q * d - product) + q * d_low + q_low * d) + q_low * d_low
    correction = (high - product - lacks + low) / divisors
    lowest, highest = (quotient + correction * near for near in (1 - 2.0**-50, 1 + 2.0**-50))
    return lowest, lowest != highest
