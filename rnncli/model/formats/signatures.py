"""What a file is, told from its first bytes when it is not what its name says."""

_PICKLE = "a Python pickle (PyTorch's .pt?)"
_SIGNATURES = {
    b"PK\x03\x04": "a zip archive (.npz, .keras or PyTorch's .pt?)",
    b"PK\x05\x06": "a zip archive that holds nothing",
    b"\x93NUMPY": "a single .npy array (numpy.savez writes several as .npz)",
    b"\x89HDF\r\n": "an HDF5 file (.h5?)",
    b"\x80\x02": _PICKLE,
    b"\x80\x03": _PICKLE,
    b"\x80\x04": _PICKLE,
    b"\x80\x05": _PICKLE,
    b"\x1f\x8b": "gzip data (decompress it)",
}
SAFETENSORS = "a .safetensors file"
UNKNOWN = "an unknown kind of file"
_TEXT = set(range(0x20, 0x7F)) | set(b"\t\r\n")


def kind_of(path: str) -> str:
    """Say what a file looks like, for a message.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(64)
    if start[8:9] == b"{" and start[5:8] == bytes(3):  # after a length of under a TiB
        return SAFETENSORS
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            return kind
    if not start:
        return "an empty file"
    return "text" if set(start) <= _TEXT else UNKNOWN
