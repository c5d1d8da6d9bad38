"""Forward passes of recurrent networks, in NumPy.

>>> import rnncli
>>> network = rnncli.seeded(input_size=1, hidden_size=4, seed=1)
>>> rnncli.run(network, [[1], [2], [3]]).h_n.shape
(4,)
"""

# As in typing, which takes milliseconds to load: see __getattr__.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from rnncli.engine.run import States, run
    from rnncli.model.activations import activation
    from rnncli.model.cells import RNN, Weights
    from rnncli.model.initializers import seeded
    from rnncli.model.layers import Recurrent
    from rnncli.model.network import Network

__version__ = "0.1.0"
__all__ = [
    "RNN",
    "Recurrent",
    "Network",
    "States",
    "Weights",
    "__version__",
    "activation",
    "run",
    "seeded",
]

_ROOMS = {
    "RNN": "model.cells",
    "Recurrent": "model.layers",
    "Network": "model.network",
    "Weights": "model.cells",
    "States": "engine.run",
    "activation": "model.activations",
    "run": "engine.run",
    "seeded": "model.initializers",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for.

    NumPy takes most of a short run's start. Loading it here would put it
    before the command's own handling of Ctrl-C, which then could end in a
    traceback.
    """
    if name not in _ROOMS:
        raise AttributeError(f"module 'rnncli' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"rnncli.{_ROOMS[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
