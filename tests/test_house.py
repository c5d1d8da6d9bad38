"""The rules of the house: which room may import which."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "rnncli"
FILES = sorted(PACKAGE.rglob("*.py"))

# Rooms of pure computation, lowest first: each may import those before it.
PURE = (
    "choices",
    "arrays",
    "activations",
    "merges",
    "network",
    "architecture",
    "precision",
    "cells",
    "steps",
    "processors",
    "lanes",
    "packing",
    "unroll",
    "forward",
    "stream",
    "initializers",
    "reference",
    "compare",
    "conventions",
)
PURE_LIBRARY = {
    "collections",
    "dataclasses",
    "functools",
    "itertools",
    "math",
    "operator",
    "numpy",
    "random",
    "typing",
}
# Of threads, and of the machine, knows a room each.
MACHINE = {"lanes": {"queue", "threading"}, "processors": {"os"}}
# What is installed as an extra, by the only room that may import it.
OPTIONAL = {
    "formats": {"safetensors"},
    "peers": {"keras", "tensorflow", "torch", "onnx", "onnxruntime"},
}
FAMILIES = {
    "unroll": {"stepwise", "fused", "parallel"},
    # Members of a family; its other files are what they share.
    "readers": {"inline", "csv", "npy"},
    "writers": {"table", "json", "csv", "npy", "heatmap"},
    "initializers": {"tensorflow", "keras", "torch"},
    "formats": {"npz", "safetensors"},
    "peers": {"keras", "torch", "onnxruntime"},
}


def module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def room(name: str) -> str:
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
            if node.module == "rnncli":
                for alias in node.names:
                    yield f"rnncli.{alias.name}", node in tree.body
            else:
                yield node.module, node in tree.body


@pytest.mark.parametrize("path", FILES, ids=map(module, FILES))
def test_imports(path: Path) -> None:
    here = module(path)
    for name, at_top in imports(path):
        top = name.split(".")[0]
        if room(here) in PURE and top != "rnncli":
            assert top in PURE_LIBRARY | MACHINE.get(room(here), set()), f"{here} imports {name}"
        if room(here) in PURE and top == "rnncli" and room(name) != room(here):
            assert room(name) in PURE[: PURE.index(room(here))], f"{here} imports {name}"
        if top == "click":
            assert room(here) == "cli", f"{here} imports Click"
        if top == "rich":
            assert room(here) in ("cli", "writers"), f"{here} imports Rich"
            assert not at_top, f"{here} imports Rich before it draws"
        if room(name) == "cli" and top == "rnncli":
            assert room(here) in ("cli", "__main__"), f"{here} imports the command line"
        known = {"rnncli", "numpy", "click", "rich"} | sys.stdlib_module_names
        if top not in known:
            assert top in OPTIONAL.get(room(here), ()), f"{here} imports {name}"
            assert not at_top, f"{here} imports {name} before it is used"


@pytest.mark.parametrize("path", FILES, ids=map(module, FILES))
def test_members_of_a_family_do_not_import_each_other(path: Path) -> None:
    here = module(path)
    _, family, member = (*here.split("."), "", "")[:3]
    if member not in FAMILIES.get(family, ()):
        return
    for name, _ in imports(path):
        parts = name.split(".")
        if parts[:2] == ["rnncli", family] and len(parts) > 2:
            assert parts[2] not in FAMILIES[family] - {member}, f"{here} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=map(module, FILES))
def test_pure_rooms_print_nothing_and_keep_nothing(path: Path) -> None:
    if room(module(path)) not in PURE:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Global | ast.Nonlocal)
        assert getattr(node, "id", "") not in ("print", "open"), f"{path}:{node}"


def test_the_top_level_holds_what_it_should() -> None:
    allowed = {"pyproject.toml", "README.md", "rnncli", "tests", "sample_data"}
    if (ROOT / ".git").exists():  # what lies about in a checkout is its owner's
        command = ["git", "-C", str(ROOT), "ls-files"]
        tracked = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = {Path(line).parts[0] for line in tracked.splitlines()}
    else:
        found = {path.name for path in ROOT.iterdir()}
    assert {name for name in found if not name.startswith(".")} == allowed


def test_the_families_are_as_the_folders_are() -> None:
    for family, members in FAMILIES.items():
        files = {path.stem for path in (PACKAGE / family).glob("*.py")}
        assert members <= files
