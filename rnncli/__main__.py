"""The command ``rnn``, also as ``python -m rnncli``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still loading exits with 130 too."""
    try:
        from rnncli.cli import rnn

        rnn()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
