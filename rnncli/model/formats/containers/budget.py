"""Limits on what is made from a file."""

from rnncli.model.errors import InputError


class Budget:
    """Limits on the objects and the bytes that are made from a file."""

    def __init__(self, path: str, objects: int, size: int) -> None:
        self._path, self._objects, self._bytes = path, objects, size

    def spend(self, objects: int = 1, size: int = 0) -> None:
        """Take objects and bytes from the budget; raise InputError where it is spent."""
        self._objects -= objects
        self._bytes -= size
        if self._objects < 0 or self._bytes < 0:
            raise InputError(self._path, "holds far more than its size tells: it is damaged")
