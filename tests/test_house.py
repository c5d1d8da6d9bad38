"""The rules of the house: which package may import which, and what."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "rnncli"
FILES = sorted(PACKAGE.rglob("*.py"))

# Lines of Python that each package and the tests may have. A change may lower a number, never raise
# it: what needs more room takes something else out.
MOST_LINES = {
    "rnncli/model": 13_115,
    "rnncli/engine": 4_393,
    "rnncli/storage": 879,
    "rnncli/readers": 3_087,
    "rnncli/writers": 3_606,
    "rnncli/verify": 4_270,
    "rnncli/bench": 546,
    "rnncli/explain": 1_634,
    "rnncli/batches": 1_097,
    "rnncli/cli": 4_137,
    "tests": 36_012,
}

# Each package may import those before it; `__init__` is the library.
ORDER = (
    *("model", "engine", "storage", "readers", "writers"),
    *("verify", "bench", "explain", "batches", "cli"),
)
# Siblings, or what a package has no business with, and what it may import all the same.
APART = {
    "storage": ("engine", set[str]()),
    "readers": ("engine", {"rnncli.engine.rows", "rnncli.engine.threads"}),
    "writers": ("readers", set[str]()),
}
# Pure computation: NumPy and these, nothing printed, no environment.
PURE = ("model", "engine")
PURE_LIBRARY = {
    "bisect",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "difflib",
    "functools",
    "itertools",
    "math",
    "numpy",
    "operator",
    "random",
    "re",
    "types",
    "typing",
    "warnings",
}
# What a file of the pure packages may import beside, and why it is not like the others.
BESIDE = {
    # The thread pool, and that of NumPy's products.
    "rnncli.engine.threads": {"os", "sys", "ctypes", "queue", "threading"},
    "rnncli.engine.compiled.code": {"struct"},
    "rnncli.engine.compiled.machine": {"ctypes", "importlib"},
    "rnncli.engine.compiled.steps": {"threading"},
    "rnncli.engine.state": {"os", "json", "hashlib"},
    "rnncli.model.formats": {
        *("os", "io", "sys", "json", "struct", "zipfile", "zlib", "hashlib"),
        "importlib",  # each format when a file is of it
        "ast",  # the code of TorchScript
    },
}
# What is installed as an extra, by the only place that may import it.
OPTIONAL = {
    "rnncli.engine.compiled.machine": {"llvmlite"},
    "rnncli.writers.figure.drawing": {"matplotlib"},
    "rnncli.storage.remote": {"fsspec", "aiohttp"},
    "rnncli.batches.cluster": {"distributed"},
    "rnncli.readers.arrow": {"pyarrow"},
    "rnncli.writers.arrow": {"pyarrow"},
    "rnncli.verify.peers.keras": {"keras", "tensorflow"},
    "rnncli.verify.peers.torch": {"torch"},
    "rnncli.verify.peers.onnxruntime": {"onnx", "onnxruntime"},
}
# Files that are one of several of a kind, each by itself; others in the folder they may share.
SIBLINGS = {
    "engine/unroll": {"stepwise", "projected"},  # parallel takes the loop of the other
    "readers": {"inline", "csv", "npy", "arrow"},
    "writers": {"table", "json", "csv", "npy", "arrow", "heatmap", "plot", "figure"},
    "model/initializers": {"keras", "torch"},  # Keras draws on TensorFlow
    "model/formats": {"npz", "safetensors"},
    "verify/peers": {"keras", "torch", "onnxruntime"},
}


def module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def package(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Names imported in a file, and whether at its top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in set(ast.walk(tree)) - typing_only:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in tree.body
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module
            if (PACKAGE.parent / node.module.replace(".", "/")).is_dir():
                for alias in node.names:
                    yield f"{node.module}.{alias.name}", node in tree.body
            else:
                yield node.module, node in tree.body


def allowed(table: dict[str, set[str]], here: str) -> set[str]:
    """What a table allows a module, by its own name or that of a package above it."""
    return {
        each for name, names in table.items() if f"{here}.".startswith(f"{name}.") for each in names
    }


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=map(module, FILES))
def test_packages_import_one_way(path: Path) -> None:
    here = module(path)
    if package(here) not in ORDER:
        return
    for name, _ in imports(path):
        there = package(name)
        if not name.startswith("rnncli.") or there == package(here) or there not in ORDER:
            continue
        assert ORDER.index(there) < ORDER.index(package(here)), f"{here} imports {name}"
        other, but = APART.get(package(here), ("", set()))
        if there == other:
            assert any(name.startswith(each) for each in but), f"{here} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=map(module, FILES))
def test_libraries_are_imported_where_they_belong(path: Path) -> None:
    here = module(path)
    for name, at_top in imports(path):
        top = name.split(".")[0]
        if package(here) in PURE and top != "rnncli":
            known = PURE_LIBRARY | allowed(BESIDE, here) | allowed(OPTIONAL, here)
            assert top in known, f"{here} imports {name}"
        if top == "click":
            assert package(here) == "cli", f"{here} imports Click"
        if top == "rich":
            drawing = package(here) in ("cli", "writers") or here.endswith(".report")
            assert drawing, f"{here} imports Rich"
            assert not at_top, f"{here} imports Rich before it draws"
        if top not in {"rnncli", "numpy", "click", "rich"} | sys.stdlib_module_names:
            assert top in allowed(OPTIONAL, here), f"{here} imports {name}"
            assert not at_top, f"{here} imports {name} before it is used"


# What parts of the formats may import of them beside themselves: bytes are read without a
# framework's meaning, and each framework's files without another's.
FORMATS = "rnncli.model.formats"
SHARED = {"containers", "kinds", "names", "parts", "shapes", "spec", "tensors"}
OF_FORMATS = {
    "containers": {"kinds", "tensors"},
    **dict.fromkeys(("keras", "torch", "onnx"), SHARED),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", OF_FORMATS)
def test_containers_and_frameworks_stand_apart(part: str) -> None:
    paths = sorted((PACKAGE / "model" / "formats" / part).rglob("*.py"))
    assert paths
    for path in paths:
        for name, _ in imports(path):
            if name.startswith(f"{FORMATS}."):
                there = name.removeprefix(f"{FORMATS}.").split(".")[0]
                assert there in OF_FORMATS[part] | {part}, f"{path} imports {name}"


def sibling(name: str, folder: str) -> set[str]:
    """Which of the siblings in a folder a module is, or is in; none of another folder."""
    head = f"rnncli.{folder.replace('/', '.')}."
    return SIBLINGS[folder] & {name.removeprefix(head).split(".")[0]} if head in name else set()


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=map(module, FILES))
def test_siblings_do_not_import_each_other(path: Path) -> None:
    for folder in SIBLINGS:
        if here := sibling(module(path), folder):
            for name, _ in imports(path):
                assert sibling(name, folder) <= here, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=map(module, FILES))
def test_pure_packages_print_nothing_and_keep_nothing(path: Path) -> None:
    if package(module(path)) not in PURE:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Global | ast.Nonlocal)
        assert getattr(node, "id", "") != "print", f"{path}:{node}"
        assert getattr(node, "attr", "") not in ("environ", "getenv") or path.stem == "threads"


@pytest.mark.parametrize("path", FILES, ids=map(module, FILES))
def test_only_the_command_line_names_options(path: Path) -> None:
    """Elsewhere parameters stand between backticks, and the command line shows options."""
    if package(module(path)) in ("cli", ""):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = re.findall(r"(?<![\w|-])--[a-z][a-z-]*", node.value)
            assert not found, f"{path}:{node.lineno}: {found}"


@pytest.mark.parametrize("folder", MOST_LINES)
def test_packages_keep_to_their_budgets(folder: str) -> None:
    lines = sum(path.read_text().count("\n") for path in (ROOT / folder).rglob("*.py"))
    assert lines <= MOST_LINES[folder]


def test_the_packages_are_these() -> None:
    assert {f"rnncli/{package}" for package in ORDER} | {"tests"} == set(MOST_LINES)
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert found == set(ORDER)
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__"}


def test_the_top_level_holds_what_it_should() -> None:
    allowed = {"pyproject.toml", "README.md", "rnncli", "tests", "sample_data"}
    if (ROOT / ".git").exists():  # what lies about in a checkout is its owner's
        command = ["git", "-C", str(ROOT), "ls-files"]
        tracked = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = {Path(line).parts[0] for line in tracked.splitlines()}
    else:
        found = {path.name for path in ROOT.iterdir()}
    assert {name for name in found if not name.startswith(".")} == allowed


def test_the_siblings_are_as_the_folders_are() -> None:
    for folder, names in SIBLINGS.items():
        assert names <= {path.stem for path in (PACKAGE / folder).iterdir()}
