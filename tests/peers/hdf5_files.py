"""Writes the files in ``data/hdf5``: ``PYTHONPATH=tests python tests/peers/hdf5_files.py``."""

from pathlib import Path

import h5py
import numpy as np
from hdf5_cases import ATTRIBUTES, FILES, ORDERED, VALUES

DATA = Path(__file__).parents[1] / "data" / "hdf5"


def write(path: Path, libver: str) -> None:
    """Write a file in one of HDF5's versions."""
    with h5py.File(path, "w", libver=libver) as file:
        group = file.create_group(ORDERED, track_order=True)
        for name, value in VALUES.items():
            if name.endswith("fixed"):
                file[name] = np.array(value, "S")
            else:
                file[name] = h5py.Empty("<f4") if name.endswith("none") else value
        for name, attributes in ATTRIBUTES.items():
            for key, value in attributes.items():
                file[name or "/"].attrs[key] = np.array(value, "S") if key == "fixed" else value
        group["soft"] = file["layers"]["soft"] = h5py.SoftLink("/layers")
        group["external"] = h5py.ExternalLink("other.h5", "/layers")


if __name__ == "__main__":
    for name, libver in FILES.items():
        write(DATA / f"{name}.h5", libver)
