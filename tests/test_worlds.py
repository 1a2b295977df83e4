"""Three worlds that do not load each other, and code that stays small enough to read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SOURCE = PROJECT / "src"

PLAIN = (
    "entities", "text", "settings", "planning", "online", "output", "observe", "errors", "environment", "release",
    "jobs", "locking",
)  # fmt: skip
SPARK = ("changes", "stream", "tables", "labels", "backfill", "spark")
TORCH = ("encoder", "training", "evaluation", "ranking", "serving")
# Runs an encoder inside Spark: a Spark module, although it stands in the torch world's room.
BRIDGE = "jude.encoder.udf"
# The command line opens every world, but only for the command that needs it: `jude --help` starts without them.
DOOR = "cli"

MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported_when_loaded(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run when the module is loaded: not those in functions or under TYPE_CHECKING."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += list(ast.iter_child_nodes(node))


def names_of(node: ast.Import | ast.ImportFrom, module: str) -> list[str]:
    """Name every module that one import statement may load."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        package = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *base.split(".")]).rstrip(".")
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


@cache
def loads(module: str) -> frozenset[str]:
    """Name what a module loads itself; a package is loaded before its modules."""
    found = {
        name for node in imported_when_loaded(ast.parse(FILES[module].read_text())) for name in names_of(node, module)
    }
    parents = {".".join(name.split(".")[:end]) for name in found | {module} for end in range(1, name.count(".") + 1)}
    return frozenset(found | parents)


def path_to(module: str, forbidden: str) -> list[str] | None:
    """Return the chain of imports from a module to a foreign package, None where there is none."""
    chains, seen = [[module]], {module}
    for chain in chains:
        for name in sorted(loads(chain[-1])):
            if name == forbidden or name.startswith(forbidden + "."):
                return [*chain, name]
            if name in FILES and name not in seen:
                seen.add(name)
                chains.append([*chain, name])
    return None


def modules_of(rooms: tuple[str, ...]) -> list[str]:
    named = [name for name in FILES if name.count(".") and name.split(".")[1] in rooms and name != BRIDGE]
    return [*named, BRIDGE] if rooms == SPARK else named


def broken(rooms: tuple[str, ...], forbidden: tuple[str, ...]) -> list[str]:
    chains = (path_to(module, foreign) for module in modules_of(rooms) for foreign in forbidden)
    return [" -> ".join(chain) for chain in chains if chain]


def test_plain_modules_load_neither_spark_nor_torch() -> None:
    assert broken(PLAIN, ("pyspark", "delta", "torch", "transformers", "sentence_transformers")) == []


def test_spark_modules_do_not_load_torch() -> None:
    assert broken(SPARK, ("torch", "transformers", "sentence_transformers")) == []


def test_torch_modules_do_not_load_spark() -> None:
    assert broken(TORCH, ("pyspark", "delta")) == []


def test_the_command_line_starts_without_spark_and_torch() -> None:
    assert path_to(f"jude.{DOOR}", "pyspark") is None
    assert path_to(f"jude.{DOOR}", "torch") is None


def test_every_room_belongs_to_a_world() -> None:
    rooms = {name.split(".")[1] for name in FILES if name.count(".")}
    assert rooms - {*PLAIN, *SPARK, *TORCH, DOOR} == set()


def test_the_walk_finds_a_chain_of_imports() -> None:
    assert path_to("jude.spark", "pyspark") == ["jude.spark", "pyspark"]
    assert path_to("jude.errors", "pyspark") is None


def code_files() -> list[Path]:
    return [*FILES.values(), *sorted((PROJECT / "jobs").glob("*.py"))]


@pytest.mark.parametrize("path", code_files(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_modules_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > MAX_FUNCTION_LINES]
    assert too_long == []
    assert text.count("\n") <= MAX_MODULE_LINES
