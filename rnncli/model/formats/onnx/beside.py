"""The files beside an ONNX model that hold its weights: *external data*.

A tensor names such a file. It is read only where it lies in the model's own
folder, so that a model cannot show what another folder holds.

Source: https://onnx.ai/onnx/repo-docs/ExternalData.html.
"""

import os
import re
from collections.abc import Mapping

from rnncli.model.errors import InputError, shown

_NUMBER = re.compile("[0-9]{1,18}")


def path_beside(path: str, place: str, where: Mapping[str, str]) -> str:
    """Return the path of a file beside a model."""
    name = where.get("location", "")
    if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
        what = f"expected the name of a file beside the model, got {shown(name)}"
        raise InputError(place, what)
    folder = os.path.dirname(path)
    found = os.path.join(folder, name)
    if not os.path.exists(found):
        what = f"its values are in the file {shown(name)}, which is not there"
        raise InputError(place, what, "it has to lie beside the model")
    # Caches of downloads are links into one folder, to the model as to this file.
    folders = (os.path.realpath(folder), os.path.dirname(os.path.realpath(path)))
    if os.path.dirname(os.path.realpath(found)) not in folders:
        what = f"its values are in the file {shown(name)}, a link out of the model's folder"
        raise InputError(place, what, "copy it there")
    if not os.path.isfile(found):
        raise InputError(place, f"its values are in {shown(name)}, which is no plain file")
    return found


def read_beside(path: str, place: str, where: Mapping[str, str], size: int) -> bytes:
    """Read the values of a tensor from a file beside the model."""
    given = {"offset": "0", "length": str(size), **where}
    texts = given["offset"], given["length"]
    if not all(map(_NUMBER.fullmatch, texts)):
        what = f"damaged: offset {shown(texts[0])}, length {shown(texts[1])}"
        raise InputError(place, what)
    offset, length = map(int, texts)
    found, name = path_beside(path, place, where), shown(where["location"])
    if length != size:
        what = f"damaged: takes {size:,} bytes, {name} is said to have {length:,}"
        raise InputError(place, what)
    with open(found, "rb") as file:
        held = os.fstat(file.fileno()).st_size
        if offset + size > held:
            what = f"expected {size:,} bytes from {offset:,} on in {name}, which has {held:,}"
            raise InputError(place, what)
        file.seek(offset)
        return file.read(size)
