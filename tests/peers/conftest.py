import warnings

import pytest


@pytest.fixture(scope="session", autouse=True)
def libraries() -> None:
    """Load the peers' libraries once: on loading they warn of their own parts."""
    from peers.networks import network
    from rnncli.verify.peers import PEERS, build

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in PEERS:
            build(name, network())
