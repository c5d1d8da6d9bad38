"""The recipe for one log of many keys on a Dask cluster."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import GUIDE, SAMPLES, Rnn
from distributed import LocalCluster

[RECIPE] = re.findall(r"```python\n(.*?)```", GUIDE["clusters"], re.DOTALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_recipe_gives_what_run_makes_of_the_sorted_log(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng, n = np.random.default_rng(0), 3000
    log = pd.DataFrame(
        {
            "sensor": rng.choice([f"s{i}" for i in range(50)], n),
            "time": rng.permutation(pd.date_range("2024-05-01", periods=n, freq="min")),
            "temperature": rng.normal(20, 5, n).round(2),
            "unused": "x",
        }
    )
    Path("log").mkdir()
    for i, part in enumerate(np.array_split(np.arange(n), 7)):
        log.iloc[part].to_parquet(f"log/{i}.parquet")
    Path("model.keras").symlink_to(SAMPLES / "sunspots.keras")
    with LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster:
        Path("scheduler.json").write_text(json.dumps({"address": cluster.scheduler_address}))
        exec(RECIPE, {})
    log.sort_values("time").to_parquet("sorted.parquet")
    options = ("--group-by", "sensor", "--columns", "temperature", "--weights", "model.keras")
    run = run_rnn("run", "sorted.parquet", *options, "--passthrough", "-o", "run.parquet")
    assert run.exit_code == 0, run.stderr
    ours, expected = (
        pd.read_parquet(path).sort_values("time", ignore_index=True)
        for path in ("scored", "run.parquet")
    )
    assert ours["sensor"].tolist() == expected["sensor"].tolist()
    atol = 1e-6 * expected["y_0"].abs().max()
    np.testing.assert_allclose(ours["y"], expected["y_0"], rtol=0, atol=atol)
