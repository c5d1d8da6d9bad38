"""What is raised where something given cannot be used."""


class InputError(ValueError):
    """Something given cannot be used.

    Parameters
    ----------
    place : str
        Where: a file with line and column, as far as they are known, or a
        parameter; empty if `what` says it.
    what : str
        What is wrong there.
    hint : str
        What to do about it, if that can be told.

    Notes
    -----
    Parameters stand between backticks, as in "`missing` hold passes it"; the
    command line shows them as its options.
    """

    def __init__(self, place: str, what: str, hint: str = "") -> None:
        message = f"{place}: {what}" if place else what
        super().__init__(f"{message}; {hint}" if hint else message)
        self.place, self.what, self.hint = place, what, hint
