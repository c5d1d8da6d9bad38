"""What all logs have in common, and a piece of one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import IO, Any, ClassVar, NamedTuple

from rnncli.model.arrays import Integers
from rnncli.readers import Layout

# Bytes that a worker reads at once.
PIECE_BYTES = 1 << 25
# The number of a row in its piece, beside its columns.
ROW = "\0row"


class Piece(NamedTuple):
    """Rows that stand together in a file.

    Parameters
    ----------
    path : str
    start, stop : int
        Bytes of text, or groups of rows of a table. All that there is, if
        `stop` is 0.
    """

    path: str
    start: int = 0
    stop: int = 0


class Log(ABC):
    """How the files of a log are read: as the first one is.

    Parameters
    ----------
    path : str
        The first file.
    layout : Layout
    columns : list of str
        Names of all columns of text, or of those of a table that are read.
    grouping : sequence of int
        Which of the columns are the key.
    order : int or None
        Which of them the rows of a key are ordered by.

    Attributes
    ----------
    is_table : bool
    extension : str
        Of the file of a part.
    mark : str
        What stands in a message between a file and the number of a row.
    ordering : str
        The column of the rows that they are ordered by, if they are.
    schema : pyarrow.Schema
        Of the rows of a piece: the last column is `ROW`.
    """

    is_table: ClassVar[bool]
    extension: ClassVar[str]
    mark: ClassVar[str]
    ordering: str
    schema: Any

    def __init__(
        self,
        path: str,
        layout: Layout,
        columns: list[str],
        grouping: Sequence[int],
        order: int | None,
    ) -> None:
        self.path, self.layout, self.columns = path, layout, columns
        self.grouping, self.order = grouping, order

    @abstractmethod
    def cut(self, path: str) -> tuple[list[Piece], int]:
        """Cut a file into pieces; return how much memory its rows take, too."""

    @abstractmethod
    def read(self, piece: Piece) -> tuple[Any, list[Any]]:
        """Return the rows of a piece as a table of Arrow, and their keys, a column each.

        Raises
        ------
        InputError
            It cannot be read, or is unlike the first file of the log.
        """

    @abstractmethod
    def write(self, rows: Any, file: IO[bytes]) -> tuple[Mapping[str, Any], Integers]:
        """Write the file of a part.

        Returns
        -------
        options : mapping
            Those of ``rnn run`` that read it as the log would be read.
        numbers : ndarray
            Of each row the number that a message has of it; of a row of
            several lines the last one's.
        """

    @abstractmethod
    def rows_before(self, piece: Piece) -> int:
        """Count the rows, or lines, of a file before a piece of it."""
