"""Exported programs (``.pt2``): what is read of the archive, and what is refused.

`tests/peers/models_torch.py` writes the archives whose members are changed here.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from model_files import content, inspect, layers, load, refusal

import rnncli

FOLDER = ROOT / "tests" / "data" / "models"
CALLS, CONFIG = "models/model.json", "weights/model_weights_config.json"


def write(path: Path, name: str, **members: bytes | Callable[[Any], None]) -> Path:
    """Write a kept archive with other members: bytes, or what a function makes of JSON."""
    with zipfile.ZipFile(FOLDER / name) as archive:
        kept = {each: archive.read(each) for each in archive.namelist()}
    for end, change in members.items():
        member = next(each for each in kept if each.endswith(end))
        if callable(change):
            document = json.loads(kept[member])
            change(document)
            kept[member] = json.dumps(document).encode()
        else:
            kept[member] = change
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in kept.items():
            archive.writestr(member, data)
    return path


def rename_calls(old: str, new: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        nodes = document["graph_module"]["graph"]["nodes"]
        for node in nodes:
            node["target"] = node["target"].replace(old, new)

    return change


def set_argument(call: str, argument: str, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for node in document["graph_module"]["graph"]["nodes"]:
            for each in node["inputs"]:
                if call in node["target"] and each["name"] == argument:
                    each["arg"] = value

    return change


def train(document: Any) -> None:
    set_argument("gru", "train", {"as_bool": True})(document)
    set_argument("gru", "dropout", {"as_float": 0.5})(document)


def mutate(document: Any) -> None:
    spec = {"arg": {"name": "linear"}, "buffer_name": "rnn.count"}
    document["graph_module"]["signature"]["output_specs"].insert(0, {"buffer_mutation": spec})


# What is changed, and why the model is refused.
REFUSED: dict[str, tuple[Callable[[Any], None], str]] = {
    "an unknown function": (rename_calls("linear", "lgamma"), "calls lgamma in a way"),
    "a function of its own": (
        rename_calls("aten.linear", "my.linear"),
        "calls torch.ops.my.linear.default in a way",
    ),
    "packed sequences": (rename_calls("gru.input", "gru.data"), "gru.data in a way"),
    "training": (train, "in training mode: call model.eval() before"),
    "a state that is kept": (mutate, "changes rnn.count at each call"),
    "no recurrent call": (rename_calls("aten.gru", "aten.sigmoid"), "is written step by step"),
}


@pytest.mark.parametrize(("change", "why"), REFUSED.values(), ids=REFUSED)
def test_programs_that_are_refused(tmp_path: Path, change: Callable[[Any], None], why: str) -> None:
    path = write(tmp_path / "w.pt2", "torch_exported.pt2", **{CALLS: change})
    message = refusal(path)
    assert message.startswith("forward: ")
    assert why in message
    assert re.search("`layer` (NAME: )?rnn$", message)
    assert layers(load(path, layer="rnn")[0]) == "GRU 3 bidirectional, GRU 3 bidirectional"
    assert [run["layer"] for run in inspect(path)["runs"]] == ["rnn"]


def test_arrays_are_viewed_by_strides(tmp_path: Path) -> None:
    """A weight whose columns stand side by side behind other values is the same weight."""
    sound = FOLDER / "torch_exported.pt2"
    with zipfile.ZipFile(sound) as archive:
        weight = np.frombuffer(archive.read("archive/data/weights/weight_0"), "<f4").reshape(9, 2)

    def turn(document: Any) -> None:
        meta = document["config"]["rnn.weight_ih_l0"]["tensor_meta"]
        meta |= {"strides": [{"as_int": 1}, {"as_int": 9}], "storage_offset": {"as_int": 4}}

    data = np.concatenate([np.zeros(4, "<f4"), weight.T.reshape(-1)]).tobytes()
    members: dict[str, Any] = {CONFIG: turn, "weights/weight_0": data}
    path = write(tmp_path / "w.pt2", sound.name, **members)
    assert content(load(path)[0]) == content(load(sound)[0])
    path = write(tmp_path / "cut.pt2", sound.name, **{CONFIG: turn})
    assert refusal(path) == "damaged: a tensor of 18 values that takes value 21"


def test_arrays_of_before_pytorch_2_9(tmp_path: Path) -> None:
    """Weights stood in one pickle, as ``torch.save`` writes it."""
    sound = FOLDER / "torch_exported_old.pt2"
    with zipfile.ZipFile(sound) as archive:
        members = {"w/models/model.json": archive.read("serialized_exported_program.json")}
        for kind, name in (("weights", "state_dict"), ("constants", "constants")):
            members[f"w/data/{kind}/model.pt"] = archive.read(f"serialized_{name}.pt")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in (members | {"w/archive_format": b"pt2"}).items():
            archive.writestr(name, data)
    (tmp_path / "w.pt2").write_bytes(file.getvalue())
    assert content(load(tmp_path / "w.pt2")[0]) == content(load(sound)[0])


def test_archives_without_one_program(tmp_path: Path) -> None:
    path = tmp_path / "w.pt2"
    for names, why in (
        (["w/archive_format", "w/models/a.json", "w/models/b.json"], "several programs: a, b"),
        (["w/archive_format", "w/data/aotinductor/model/m.so"], "expected what torch.export.save"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "{}")
        assert why in refusal(path)


def test_weights_that_are_not_read_are_refused(tmp_path: Path) -> None:
    def change(document: Any) -> None:
        document["config"]["fc.weight"]["use_pickle"] = True

    path = write(tmp_path / "w.pt2", "torch_exported.pt2", **{CONFIG: change})
    assert refusal(path).startswith("forward: takes fc.weight of type type 7, which is not read")


def test_steps_that_are_combined_have_the_number_of_the_export() -> None:
    network = load(FOLDER / "torch_exported_pooled.pt2")[0]
    assert rnncli.run(network, np.ones((2, 5, 2))).y is not None
    with pytest.raises(rnncli.InputError, match=r"^conv: .* the graph was exported for 5$"):
        rnncli.run(network, np.ones((2, 9, 2)))
