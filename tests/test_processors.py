"""Which processors there are, and how many threads a product takes."""

import pytest
from rnncli.engine.processors import leave_processors_to_lanes, products_take_one

from rnncli.engine import processors


def test_settings_that_are_there_stay() -> None:
    environment = {"MKL_NUM_THREADS": "3", "OTHER": "x"}
    leave_processors_to_lanes(environment)
    assert environment == {
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "3",
        "VECLIB_MAXIMUM_THREADS": "1",
        "OTHER": "x",
    }


@pytest.mark.parametrize(
    ("openblas", "openmp", "usable", "one"),
    [
        ("", "", 2, False),
        ("1", "", 2, True),
        ("2", "1", 2, False),
        ("", "1", 2, True),
        ("1", "2", 2, True),
        ("", "2", 2, False),
        ("", "", 1, True),
        ("2", "", 1, True),
    ],
)
def test_products_take_what_openblas_finds(
    monkeypatch: pytest.MonkeyPatch, *, openblas: str, openmp: str, usable: int, one: bool
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", openblas)
    monkeypatch.setenv("OMP_NUM_THREADS", openmp)
    monkeypatch.setattr(processors, "usable_processors", lambda: list(range(usable)))
    assert products_take_one() is one
