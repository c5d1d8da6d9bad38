"""The operating system: calls that Windows and macOS lack, or answer in another way than Linux."""

import errno
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from tempfile import TemporaryDirectory
from typing import IO, Any

WINDOWS = sys.platform == "win32"
# The byte of a file that a lock covers on Windows, where nobody else can read it. It is behind all
# that a file of a batch holds.
_LOCKED = 1 << 30
# Seconds between two attempts, and of all, where another program has a file open.
_PAUSE, _PATIENCE = 0.05, 10.0
# Names of devices, and characters, that no file on Windows has.
_RESERVED = r"(?i:(con|prn|aux|nul|com[1-9]|lpt[1-9])\s*(\..*)?|.*[<>:\"|?*].*|.*[. ])"


if sys.platform == "win32":

    def lock(number: int, *, wait: bool = False) -> None:
        """Lock an open file against all who open it; BlockingIOError if another has the lock."""
        import msvcrt

        while True:
            before = os.lseek(number, 0, os.SEEK_CUR)
            os.lseek(number, _LOCKED, os.SEEK_SET)
            try:
                msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
                return
            except OSError as error:
                if error.errno not in (0, errno.EACCES, errno.EDEADLK):
                    raise
                if not wait:
                    raise BlockingIOError(errno.EAGAIN, "another run has it") from error
            finally:
                os.lseek(number, before, os.SEEK_SET)
            time.sleep(_PAUSE)

else:

    def lock(number: int, *, wait: bool = False) -> None:
        """Lock an open file against all who open it; BlockingIOError if another has the lock."""
        import fcntl

        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def replace(source: str, target: str) -> None:
    """Rename a file; on Windows, wait for a program that has one of them open."""
    end = time.monotonic() + _PATIENCE if WINDOWS else 0.0
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if not WINDOWS:
                raise
            if time.monotonic() > end:
                error.strerror = "another program has it open"
                raise
        time.sleep(_PAUSE)


def start_sync(number: int) -> None:
    """Start to write an open file to the disk: syncs of several files take half the time then."""
    if sys.platform == "linux":
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_file(number: int) -> None:
    """Wait until an open file is on the disk; on macOS, fsync waits for less."""
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # not on every file system
            fcntl.fcntl(number, fcntl.F_FULLFSYNC)
            return
    os.fsync(number)


def sync_folder(path: str) -> None:
    """Wait until the names in a folder are on the disk; Windows opens none."""
    if WINDOWS:
        return
    try:
        number = os.open(path, os.O_RDONLY)
        try:
            sync_file(number)
        finally:
            os.close(number)
    except OSError as error:
        # A folder may allow new files but no reading, and not every file system can sync one.
        if error.errno not in (errno.EACCES, errno.EINVAL):
            raise


@contextmanager
def delay_signals() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Yield a context manager that delays the first signal to its end, but not a second one."""
    handlers: dict[int, Any] = {n: signal.getsignal(n) for n in signal.valid_signals()}
    handlers = {number: each for number, each in handlers.items() if callable(each)}
    came, busy = 0, False

    def wait(number: int, frame: object) -> None:
        nonlocal came
        if came or not busy:
            handlers[number](number, frame)
        came = number

    @contextmanager
    def until_done() -> Iterator[None]:
        nonlocal busy
        busy = True
        yield
        busy = False
        if came:
            handlers[came](came, None)

    try:
        for number in handlers:
            signal.signal(number, wait)
        yield until_done
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def name_of(file: IO[Any]) -> Iterator[str]:
    """Yield a name that opens an open file at its start; on Windows, the name of a copy."""
    name = f"/dev/fd/{file.fileno()}"
    file.seek(0)  # macOS opens the file where it stands
    if not WINDOWS and os.path.exists(name):
        yield name
        return
    with TemporaryDirectory(prefix="rnn-") as folder:
        name = os.path.join(folder, "copy")
        with open(name, "wb") as copy:
            shutil.copyfileobj(getattr(file, "buffer", file), copy, 1 << 20)
        yield name


@cache
def tie_processes() -> None:
    """On Windows, end the processes that this one starts when it ends.

    A process that is killed while it starts another leaves one that never runs.
    """
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        # JOBOBJECT_EXTENDED_LIMIT_INFORMATION: the third number has the flag KILL_ON_JOB_CLOSE.
        limits = (ctypes.c_uint64 * 18)(0, 0, 0x2000)
        job, this = ctypes.c_void_p(kernel.CreateJobObjectW(None, None)), ctypes.c_void_p(-1)
        kernel.SetInformationJobObject(job, 9, limits, ctypes.sizeof(limits))
        kernel.AssignProcessToJobObject(job, this)


def fold_case(path: str) -> str:
    """Return a text that is the same for all names of a file; only Linux tells a from A."""
    return path if sys.platform == "linux" else path.casefold()


def is_own(about: os.stat_result) -> bool:
    """Return whether a file belongs to the user of this process."""
    return not hasattr(os, "geteuid") or about.st_uid == os.geteuid()


def copy_access(target: str, number: int) -> None:
    """Copy owner and permissions of a file, if it exists, to an open one."""
    with suppress(OSError, AttributeError):  # not every system and file system has permissions
        old = os.stat(target)
        with suppress(OSError):
            os.fchown(number, old.st_uid, old.st_gid)
        # Another group must not get the rights of the old one.
        same_group = os.fstat(number).st_gid == old.st_gid
        os.fchmod(number, old.st_mode & (0o777 if same_group else 0o707))


def why_denied(path: str) -> int:
    """Return the number of the error of writing to a path that `os.access` denies."""
    is_read_only = hasattr(os, "statvfs") and os.statvfs(path).f_flag & os.ST_RDONLY
    return errno.EROFS if is_read_only else errno.EACCES


def check_name(path: str) -> None:
    """Refuse the name of a new file that Windows would give to a device, or to no file."""
    name = os.path.basename(path)
    if WINDOWS and name.lower() != "nul" and re.fullmatch(_RESERVED, name):
        raise OSError(errno.EINVAL, f"{name!r} is no name of a file on Windows")


def memory_size() -> float:
    """Return the bytes of memory of this machine; infinity if it does not tell."""
    size = float("inf")
    if sys.platform == "win32":
        import ctypes

        # MEMORYSTATUSEX: its size, the load, and then numbers of 8 bytes, the total first.
        status = (ctypes.c_uint64 * 8)(64)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(status)
        size = float(status[1])
    else:
        with suppress(AttributeError, OSError, ValueError):
            size = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return size
