"""Make a Python for Windows on Linux, run by Wine: make_python.py FOLDER REQUIREMENT...

It needs root, or wine and x86_64-w64-mingw32-gcc. The interpreter's libraries come from panda3d's
wheel for Windows, which has those of python.org, and the standard library from the Python that runs
this program, which is of the same version. FOLDER/python runs it.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

VERSION = "{}.{}".format(*sys.version_info)
DLL = f"python{VERSION.replace('.', '')}.dll"
GCC, DUMP = "x86_64-w64-mingw32-gcc", "x86_64-w64-mingw32-objdump"
PROGRAM = f"""
#include <windows.h>
typedef int (*Main)(int, wchar_t **);
int wmain(int count, wchar_t **words) {{
  return ((Main)(void *)GetProcAddress(LoadLibraryA("{DLL}"), "Py_Main"))(count, words);
}}
"""
SCRIPT = """#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
export WINEPREFIX="$here/prefix" WINEDEBUG=-all XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"
exec wine "$here/python.exe" "$@"
"""
# Wine's library of mathematics lacks the complex functions that NumPy imports. One whose name is as
# long forwards all others to the C library. Only those that take complex numbers apart are called.
MATH, SHIM = "api-ms-win-crt-math-l1-1-0.dll", "xpi-ms-win-crt-math-l1-1-0.dll"
COMPLEX = re.compile(r"c(abs|arg|exp|imag|pow|real|sin|sinh|tan|tanh)[fl]?|c(cos|cosh)[fl]?")
APART = """
double x_creal(double *z) { return z[0]; }
double x_cimag(double *z) { return z[1]; }
typedef union { unsigned long long word; float ends[2]; } Pair;
float x_crealf(Pair z) { return z.ends[0]; }
float x_cimagf(Pair z) { return z.ends[1]; }
void *x_other(void *result) { return result; }
"""


def run(*words: object, folder: Path | None = None) -> str:
    command = [str(word) for word in words]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def download(folder: Path, *requirements: str) -> Iterable[Path]:
    """Download wheels for Windows."""
    where = ("--platform", "win_amd64", "--python-version", VERSION, "--only-binary", ":all:")
    run(sys.executable, "-m", "pip", "download", "-q", *where, "-d", folder, *requirements)
    return folder.glob("*.whl")


def copy_interpreter(folder: Path, wheel: Path) -> None:
    """Copy the libraries of the interpreter, and the standard library."""
    with ZipFile(wheel) as packed:
        for name in packed.namelist():
            path = Path(name)
            if path.parent.name == "deploy_libs":
                is_core = path.name.lower() in (DLL, "vcruntime140.dll")
                target = folder / path.name if is_core else folder / "DLLs" / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(packed.read(name))
    left_out = shutil.ignore_patterns("site-packages", "lib-dynload", "test", "__pycache__")
    shutil.copytree(sysconfig.get_path("stdlib"), folder / "Lib", ignore=left_out)


def build_library(folder: Path, name: str, exports: Iterable[str], code: str = "") -> None:
    """Build a library with these exports."""
    (folder / "library.c").write_text(code)
    lines = "".join(f"  {export}\n" for export in exports)
    (folder / "library.def").write_text(f'LIBRARY "{name}"\nEXPORTS\n{lines}')
    run(GCC, "-shared", "-o", name, "library.c", "library.def", folder=folder)


def build_mathematics(folder: Path) -> None:
    """Build the library of mathematics, and have all others import it."""
    names = set()
    for path in (folder / "Lib" / "site-packages").rglob("*"):
        if path.suffix in (".pyd", ".dll") and MATH.encode() in (content := path.read_bytes()):
            table = run(DUMP, "-p", path).split(f"DLL Name: {MATH}")[1].split("DLL Name:")[0]
            names |= {*re.findall(r"^\s+[0-9a-f]+\s.*\s([a-z_]\w*)$", table, re.MULTILINE)}
            path.write_bytes(content.replace(MATH.encode(), SHIM.encode()))
    apart = {name: f"x_{name}" for name in ("creal", "cimag", "crealf", "cimagf")}
    apart |= {"creall": "x_creal", "cimagl": "x_cimag"}
    lacking = {name for name in names if COMPLEX.fullmatch(name)} - {"cos", "cosh"}
    exports = [f"{n}={apart.get(n, 'x_other') if n in lacking else f'ucrtbase.{n}'}" for n in names]
    build_library(folder, SHIM, exports, APART)


def main() -> None:
    folder, *requirements = Path(sys.argv[1]).resolve(), *sys.argv[2:]
    if not (shutil.which("wine") and shutil.which(GCC)):
        packages = ("wine", "wine64", "gcc-mingw-w64-x86-64")
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    folder.mkdir(parents=True)
    (wheel,) = download(folder / "wheels", "--no-deps", "panda3d")
    copy_interpreter(folder, wheel)
    wheel.unlink()
    for wheel in download(folder / "wheels", "colorama", *requirements):
        with ZipFile(wheel) as packed:
            packed.extractall(folder / "Lib" / "site-packages")
    names = re.findall(r"\+base\[ *\d+\] +[0-9a-f]+ (\w+)$", run(DUMP, "-p", folder / DLL), re.M)
    build_library(folder, "python3.dll", [f"{name}={DLL[:-4]}.{name}" for name in names])
    build_mathematics(folder)
    (folder / "python.c").write_text(PROGRAM)
    run(GCC, "-municode", "-O2", "python.c", "-o", "python.exe", folder=folder)
    (folder / "python").write_text(SCRIPT)
    (folder / "python").chmod(0o755)
    run(folder / "python", "-c", "import numpy, rich, click")


if __name__ == "__main__":
    main()
