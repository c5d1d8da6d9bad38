"""Names of files elsewhere, such as ``s3://bucket/x.csv``."""

import re

WEB = ("http", "https")


class Url(str):
    """A URL as it is shown: without a password, and on the web without what follows the path."""

    full: str  # as it was given
    protocol: str  # in small letters

    def __new__(cls, full: str) -> "Url":
        """Leave out what is secret, or may be."""
        protocol, rest = full.split("://", 1)
        place, slash, path = rest.partition("/")
        if protocol.lower() in WEB:
            place, path = re.split("[?#]", place)[0], re.split("[?#]", path)[0]
        url = super().__new__(cls, f"{protocol}://{place.rpartition('@')[2]}{slash}{path}")
        url.full, url.protocol = full, protocol.lower()
        return url


def is_url(path: str) -> bool:
    """Return whether a name is that of a file elsewhere."""
    return re.match(r"[a-z][a-z0-9+.-]*://", path, re.IGNORECASE | re.ASCII) is not None


def named(path: str) -> str:
    """Return a path as it is, and a URL as a `Url`."""
    return Url(path) if is_url(path) and not isinstance(path, Url) else path
