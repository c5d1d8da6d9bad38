"""What a state file holds: an archive of the arrays ``about``, ``t`` and ``h``."""

import json
from collections import Counter
from typing import Any

import numpy as np

from rnncli.engine.state import State
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import listed, shown
from rnncli.model.formats.archive import Archive
from rnncli.model.formats.metadata import read_json

_FORMAT = 1
# So many steps a float64 counts one by one.
_MOST_STEPS = 2**53


def arrays_of(state: State) -> dict[str, Any]:
    """Give the arrays that a state file is to hold."""
    about = {
        "format": _FORMAT,
        "network": state.network,
        "key_columns": list(state.key_columns),
        "keys": [list(key) for key in state.keys],
    }
    return {"about": np.array(json.dumps(about)), "t": state.t, "h": state.h}


def read_state(archive: Archive) -> State:
    """Read what a run has left.

    Raises
    ------
    ValueError
        It is what no run leaves, or it is damaged.
    """
    if set(archive.members) != {"about", "t", "h"}:
        names = listed(archive.members)
        raise ValueError(f"{archive.path}: expected the arrays about, t and h, got {names}")
    # It is written uncompressed; text that is JSON takes many times its own memory.
    archive.check_sizes(archive.members, most_times=1)
    place = archive.place("about")
    about = read_json(place, archive.text("about"), _FORMAT)
    network, key_columns, keys = (about.get(name) for name in ("network", "key_columns", "keys"))
    if not isinstance(network, str):
        raise ValueError(f"{place}: network: expected a text, got {network!r:.40}")
    if not isinstance(key_columns, list) or not all(isinstance(name, str) for name in key_columns):
        raise ValueError(f"{place}: key_columns: expected a list of texts, got {key_columns!r:.40}")
    named = _keys(place, keys, len(key_columns))
    K = len(named)
    return State(network, key_columns, named, _steps(archive, K), _states(archive, K))


def _keys(place: str, keys: Any, columns: int) -> list[tuple[str, ...]]:
    """Check that these are texts, as many in each key as there are columns, and no key twice."""
    if not isinstance(keys, list) or not all(_is_key(key, columns) for key in keys):
        raise ValueError(f"{place}: keys: expected a list of lists of {columns}, got {keys!r:.40}")
    named = [*map(tuple, keys)]
    if len(set(named)) < len(named):
        (key, _), *_ = Counter(named).most_common(1)
        raise ValueError(f"{place}: the key {shown(' '.join(key))} twice")
    return named


def _is_key(key: Any, columns: int) -> bool:
    if not isinstance(key, list) or len(key) != columns:
        return False
    return all(isinstance(text, str) for text in key)


def _steps(archive: Archive, K: int) -> Integers:
    place, (shape, dtype) = archive.place("t"), archive.members["t"].entry
    if archive.members["t"].dtype.kind not in "iu":
        raise ValueError(f"{place}: expected whole numbers, got {dtype}")
    if shape != (K,):
        raise ValueError(f"{place}: expected shape ({K},), a row for each key, got {shape}")
    t = archive.array("t")
    wrong = t[(t < 0) | (t > _MOST_STEPS)]
    if len(wrong):
        raise ValueError(f"{place}: expected 0 to 2^53, got {wrong[0]}")
    return t.astype(np.intp)


def _states(archive: Archive, K: int) -> Floats:
    place, (shape, dtype) = archive.place("h"), archive.members["h"].entry
    if archive.members["h"].dtype.kind != "f":
        raise ValueError(f"{place}: expected floats, got {dtype}")
    if len(shape) != 2 or shape[0] != K:
        raise ValueError(f"{place}: expected shape ({K}, S), a row for each key, got {shape}")
    return archive.array("h")
