"""A case as files, for processes that run it."""

import os

import numpy as np

from rnncli.model.formats import Given, load_network, save_network
from rnncli.verify.case import Case

_NETWORK, _INPUT = "network.npz", "input.npz"


def save_case(folder: str, case: Case) -> None:
    """Write a case into a folder, in place of one that is there."""
    with open(os.path.join(folder, _NETWORK), "wb") as file:
        save_network(file, case.network, ".npz", "")
    np.savez(
        os.path.join(folder, _INPUT),
        x=case.x,
        h0=case.h0,
        lengths=case.lengths,
        precision=case.precision,
    )


def load_case(folder: str) -> Case:
    """Read the case in a folder."""
    network = load_network(os.path.join(folder, _NETWORK), None, Given()).network
    with np.load(os.path.join(folder, _INPUT), allow_pickle=False) as arrays:
        precision = str(arrays["precision"])
        return Case(network, arrays["x"], arrays["h0"], arrays["lengths"], precision)
