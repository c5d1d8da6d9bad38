"""The keys of sequences, as people read them."""

from collections.abc import Sequence

Key = tuple[str, ...]


def in_words(columns: Sequence[str], key: Key) -> str:
    """Return a key as people read it: each of its columns with its value."""
    return ", ".join(f"{column} {value}" for column, value in zip(columns, key, strict=True))
