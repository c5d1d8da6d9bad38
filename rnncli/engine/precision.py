"""Precisions of a run: a float type, and how the operands of a product are rounded."""

from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, in_dtype


class Precision(NamedTuple):
    """A float type, and the bits of the mantissa that operands of a product have."""

    name: str
    dtype: np.dtype[np.floating]
    mantissa: int | None = None  # None for all

    @property
    def rounds(self) -> bool:
        """Whether `operand` changes anything."""
        return self.mantissa is not None

    def operand(self, values: Floats) -> Floats:
        """Round an array as an operand of a product."""
        return values if self.mantissa is None else round_mantissa(values, self.mantissa)

    def convert(self, name: str, array: Floats) -> Floats:
        """Return an array of weights in this precision, a matrix rounded as an operand."""
        converted = array if array.dtype == self.dtype else in_dtype(name, array, self.dtype)
        return self.operand(converted) if array.ndim > 1 else converted


def round_mantissa(values: Floats, bits: int) -> Floats:
    """Round float32 values to a shorter mantissa, halves to even, as TF32 and bfloat16 do."""
    dropped = 23 - bits
    pattern = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    # Half a unit of the last bit that stays, less one, plus that bit: it carries if the rest is
    # over half a unit, or exactly half and the bit is odd.
    odd = (pattern >> np.uint32(dropped)) & np.uint32(1)
    carried = pattern + (np.uint32((1 << (dropped - 1)) - 1) + odd)
    rounded = carried & np.uint32(0xFFFFFFFF ^ ((1 << dropped) - 1))
    return rounded.view(np.float32).reshape(np.shape(values))


PRECISIONS = {
    "float32": Precision("float32", np.dtype(np.float32)),
    "float64": Precision("float64", np.dtype(np.float64)),
    "tf32": Precision("tf32", np.dtype(np.float32), mantissa=10),
    "bfloat16": Precision("bfloat16", np.dtype(np.float32), mantissa=7),
}
