"""``rnn verify`` of models that frameworks saved, against what they gave and all peers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn
from test_kept_models import MODELS, command, kept

from rnncli.verify.peers import PEERS

for library in PEERS:
    pytest.importorskip(library)

# What a peer cannot express.
LACKS = re.compile(r".* (has no|masks no rows between|has one) .*|Keras's hard_sigmoid is .*")


@pytest.mark.parametrize("model", MODELS, ids=[model.name for model in MODELS])
def test_a_kept_model_is_equal_in_every_peer_that_has_it(
    run_rnn: Rnn, tmp_path: Path, model: Path
) -> None:
    line = command(model, tmp_path)
    output = line.index("-o")
    expected = str(tmp_path / "expected.npy")
    np.save(expected, kept(model)["y"])
    given = [*line[1:output], *line[output + 2 :], "--expected", expected, "--json"]
    result = run_rnn("verify", *given)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    file, loop, *others = report["results"]
    assert (file["name"], file["verdict"]) == (expected, "equal")
    assert (loop["name"], loop["verdict"]) == ("float64 loop", "equal")
    for item in others:
        note = item.get("note", "")
        assert item["verdict"] == "equal" or (item["name"] in PEERS and LACKS.fullmatch(note)), item
    assert {item["name"] for item in others} >= PEERS.keys()
