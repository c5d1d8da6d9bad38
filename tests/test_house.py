"""The rules of the house: imports, libraries, side effects, and names."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "rnncli"
TREES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
        path.read_text(encoding="utf-8")
    )
    for path in sorted(PACKAGE.rglob("*.py"))
}

# A package may import those before it; of `__init__`, the library, anybody may import.
ORDER = (
    *("model", "engine", "storage", "readers", "writers", "frames", "run_options", "opening"),
    *("states", "inspection", "pipeline", "verification", "explanation", "batches", "cli"),
)
# What is installed as an extra, by the only module or package that may import it.
OPTIONAL = {
    "rnncli.engine.compiled.code": {"llvmlite"},
    "rnncli.engine.threads": {"threadpoolctl"},
    "rnncli.writers.figure": {"matplotlib"},
    "rnncli.storage.remote": {"fsspec", "aiohttp"},
    "rnncli.batches.executors": {"distributed"},
    "rnncli.readers.arrow": {"pyarrow"},
    "rnncli.writers.arrow": {"pyarrow"},
    "rnncli.frames": {"pandas", "pyarrow"},
    "rnncli.verification.peers": {"keras", "tensorflow", "torch", "onnx", "onnxruntime"},
}


NODES = [(name, node) for name, tree in TREES.items() for node in ast.walk(tree)]


def package(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def imports(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Names that a module imports when it runs, and whether at its top level."""
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in set(ast.walk(tree)) - for_types:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in tree.body) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ".", node in tree.body


IMPORTS = [(here, *each) for here, tree in TREES.items() for each in imports(tree)]


def test_packages_import_one_way() -> None:
    for here, name, _ in IMPORTS:
        if package(here) in ORDER and package(name) in ORDER and name.startswith("rnncli."):
            assert ORDER.index(package(name)) <= ORDER.index(package(here)), (here, name)


def test_libraries_are_imported_where_they_belong() -> None:
    known = {"rnncli", "numpy", "click", "rich"} | sys.stdlib_module_names
    for here, name, at_top in IMPORTS:
        top = name.split(".")[0]
        if top == "click":
            assert package(here) == "cli", (here, name)
        if top == "rich":  # half of the start-up of a command that draws no table
            assert not at_top, (here, name)
        if top not in known:
            owners = [owner for owner in OPTIONAL if f"{here}.".startswith(f"{owner}.")]
            assert any(top in OPTIONAL[owner] for owner in owners), (here, name)
            # This module itself is imported where it is needed.
            assert not at_top or here == "rnncli.readers.arrow", (here, name)


def test_computation_has_no_side_effects() -> None:
    """The model and the engine print nothing, and only threads read the environment."""
    for name, node in NODES:
        if package(name) in ("model", "engine"):
            assert not isinstance(node, ast.Global | ast.Nonlocal), name
            assert getattr(node, "id", "") != "print", name
            assert getattr(node, "attr", "") != "environ" or name.endswith(".threads"), name


def test_docstrings_begin_with_their_subject() -> None:
    opening = re.compile("(Of|Wh(at|ose|ich|ere)|Th(at|ose|ere)|Tell|Say|Have|Know|Return what) ")
    for path in (*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                assert not opening.match(ast.get_docstring(node) or ""), f"{path}: {node}"


# They name nothing.
VAGUE = re.compile(
    "(?i:parts?|pieces?|lot|places?|things?|held|beside|apart|elsewhere|those|others?"
    "|found|given|kept|told|there)"
)


def test_names_tell_what_a_value_is() -> None:
    for module, node in NODES:
        names = [getattr(node, field, None) for field in ("name", "arg", "asname")]
        if isinstance(getattr(node, "ctx", None), ast.Store):
            names += [getattr(node, "id", None), getattr(node, "attr", None)]
        for name in filter(None, names):
            words = re.findall("[A-Z]?[a-z]+", "" if isinstance(node, ast.keyword) else name)
            assert not any(map(VAGUE.fullmatch, words)), f"{module}: {name}"


def test_functions_of_tests_have_names_that_tell_what_they_do() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                words = set(node.name.split("_")) - {"other", "others"}
                assert not any(map(VAGUE.fullmatch, words)), f"{path}: {node.name}"


def test_only_the_command_line_names_options() -> None:
    """Elsewhere parameters stand between backticks; a document of a model has its command."""
    for name, node in NODES:
        if package(name) not in ("cli", "", "inspection") and isinstance(node, ast.Constant):
            names = re.findall(r"(?<![\w|-])--[a-z][a-z-]*", str(node.value))
            assert not names, f"{name}:{node.lineno}"


def test_the_packages_are_these() -> None:
    modules = {"frames", "inspection", "opening", "pipeline", "run_options"}
    packages = {*ORDER} - modules
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == packages
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", *modules}


def test_the_top_level_holds_five_entries() -> None:
    allowed = {"pyproject.toml", "README.md", "rnncli", "tests", "sample_data"}
    names = {path.name for path in ROOT.iterdir()}
    if (ROOT / ".git").exists():  # a checkout may have files of its owner
        command = ["git", "-C", str(ROOT), "ls-files"]
        tracked = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        names = {Path(line).parts[0] for line in tracked.splitlines()}
    assert {name for name in names if not name.startswith(".")} == allowed
