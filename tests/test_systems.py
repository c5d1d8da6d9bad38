"""A first run does without names that some systems lack, or says which it needs."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# Modules, and names of `os` and `signal`, that Windows or macOS lacks.
MODULES = ("fcntl", "resource", "termios", "pwd", "grp")
OS = """
    O_NOFOLLOW O_CLOEXEC O_DIRECTORY O_NONBLOCK O_TMPFILE ST_RDONLY chown copy_file_range fchmod
    fchown fdatasync fork fstatvfs getegid geteuid getgid getpgid getuid killpg lchown lockf
    memfd_create mkfifo nice pidfd_open pipe2 posix_fadvise posix_fallocate posix_spawn pread pwrite
    register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile set_blocking setsid
    statvfs sync sysconf sysconf_names uname wait waitpid writev
"""
SIGNAL = """
    SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGTSTP SIGUSR1 SIGWINCH SIG_BLOCK
    SIG_SETMASK alarm pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigwait
"""
NAMES = [
    *(f"{name}." for name in MODULES),
    *(f"os.{name}" for name in OS.split()),
    *(f"signal.{name}" for name in SIGNAL.split()),
]
# A fork of this program for each name runs two commands without it: rnncli is not yet loaded.
PROGRAM = """
import json, os, signal, sys
import click, numpy, rich.console, subprocess, tempfile
fork, wait, dup2, exit = os.fork, os.waitpid, os.dup2, os._exit
for name in json.loads(sys.argv[1]):
    child = fork()
    if child:
        wait(child, 0)
        continue
    module, _, each = name.partition(".")
    if not each:
        sys.modules[module] = None
    elif hasattr(sys.modules[module], each):
        delattr(sys.modules[module], each)
    for more in ([], ["-o", f"{name}-out.csv"]):
        for stream, file in enumerate(("out", "err"), start=1):
            flags = os.O_WRONLY | os.O_CREAT
            dup2(os.open(f"{name}-{file}{len(more)}", flags, 0o600), stream)
        sys.argv, code = ["rnn", "run", "--seq", "1,2,3", "--hidden", "4", *more], 70
        try:
            from rnncli.__main__ import main
            main()
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush()
        with open(f"{name}-code{len(more)}", "w") as file:
            file.write(str(code))
    exit(0)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exit codes and outputs of both commands, without each name."""
    folder = tmp_path_factory.mktemp("systems")
    command = [sys.executable, "-c", PROGRAM, json.dumps(NAMES)]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    subprocess.run(command, cwd=folder, env=variables, check=True)
    return folder


@pytest.mark.linux("all names are there")
@pytest.mark.parametrize("name", NAMES)
def test_a_run_does_without_a_name_of_one_system(folder: Path, name: str) -> None:
    def read(file: str) -> str:
        return (folder / f"{name}-{file}").read_text(encoding="utf-8")

    assert read("code0") == "0"
    assert read("out0").splitlines()[-1].split()[:3] == ["3", "3.0", "-0.948892"]
    assert read("out2") == ""
    if read("code2") == "0":
        assert read("out.csv").count("\n") == 4
    else:  # it cannot be locked
        assert (name, read("code2"), read("err2").count("\n")) == ("fcntl.", "1", 1)
        assert "fcntl" in read("err2")


def test_names_of_one_system_stand_where_they_belong() -> None:
    files = ("storage/system.py", "batches/executors.py", "engine/threads.py")
    allowed = {ROOT / "rnncli" / name for name in files}
    for path in {*(ROOT / "rnncli").rglob("*.py")} - allowed:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                where = f"{path}:{node.lineno}"
                assert f"{node.value.id.lstrip('_')}.{node.attr}" not in NAMES, where
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            assert not {*MODULES} & {*names, getattr(node, "module", "")}, path
