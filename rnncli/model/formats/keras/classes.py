"""What each class of Keras layers is here."""

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.keras import recurrent, rows
from rnncli.model.formats.keras.layers import Layer, Made, Maker


def make(layer: Layer) -> Made:
    """Return what a layer is here.

    Raises
    ------
    InputError
        It cannot be run; the message says why.
    """
    if layer.kind not in MAKERS:
        raise InputError("", f"{shown(layer.kind)} is not run here")
    specs, flow = MAKERS[layer.kind](layer)
    layer.settings.check_rest()
    return specs, flow


def _time_distributed(layer: Layer) -> Made:
    """Return the layer without state that takes each row."""
    layer.take_sequence()
    inner = layer.within("layer", "layer")
    if inner.kind not in rows.MAKERS or inner.kind in ("Embedding", "Masking"):
        raise InputError("", f"TimeDistributed of {shown(inner.kind)} is not run here")
    specs, flow = make(inner._replace(flow=layer.flow._replace(axes=2)))
    return specs, flow._replace(axes=3)


MAKERS: dict[str, Maker] = {
    **recurrent.MAKERS,
    **rows.MAKERS,
    "TimeDistributed": _time_distributed,
}
