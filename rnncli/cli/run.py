"""``rnn run``: the forward pass over sequences."""

from functools import partial
from typing import Any

from rnncli.cli.networks import CONSOLE, NetworkOptions, build_network, check_network
from rnncli.cli.option_table import command, files, pick
from rnncli.pipeline import check_all, process
from rnncli.run_options import Options
from rnncli.writers.formats import FORMATS

EXAMPLES = """
rnn run --seq 1,2,3,4,5,6 --hidden 4  # the notebook's network
rnn run log.csv -c 3,4 --cell lstm --hidden 16 -o states.csv
# A model on tonight's log; each sensor continues from its last state:
rnn run log.csv -g sensor -w model.keras --state s.npz -o scored.csv
"""


@command("run", EXAMPLES, "Input Network State Computation Output", [files()])
def run(**values: Any) -> None:
    """Run a network over sequences and write its hidden states.

    FILE is text (.csv, .tsv or .jsonl, also compressed), .npy, .parquet or
    .arrow, on this machine or at a URL. Without a FILE, rnn reads --seq or
    standard input. A row is a step, a column a feature.
    """
    options, network = pick(Options, values), pick(NetworkOptions, values)
    check_network(network, options.files)
    form = check_all(options, network.weights)
    digest = FORMATS[form].has_digest
    build = partial(build_network, network, precision=options.precision, digest=digest)
    process(options, form, build, CONSOLE, weights=network.weights)
