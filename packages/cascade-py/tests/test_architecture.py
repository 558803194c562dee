"""Imports point one way: interfaces <- runtime <- py, and interfaces <- connectors, executors, observers, testkit; cli is on top, ops and web on cli."""

import ast
import graphlib
import importlib.metadata
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2]
SDK = "cascade-py"
BASE = "cascade-interfaces"
# What each distribution may import of the others; a name that ends with a hyphen stands for a family.
ARROWS = {
    BASE: frozenset[str](),
    "cascade-runtime": frozenset({BASE}),
    "cascade-connector-": frozenset({BASE}),
    "cascade-executor-": frozenset({BASE}),
    "cascade-observer-": frozenset({BASE}),
    "cascade-testkit": frozenset({BASE}),
    SDK: frozenset({BASE, "cascade-runtime"}),
    "cascade-cli": frozenset({BASE, "cascade-runtime", SDK}),
    "cascade-ops": frozenset({BASE, "cascade-runtime", SDK, "cascade-cli", "cascade-observer-otel"}),
    "cascade-web": frozenset({BASE, "cascade-cli"}),
}
RUNTIME = "cascade.runtime"
PUBLIC = "__init__"
# What each folder or file of the runtime may import of the others: along the way of the data, from the engine
# to the scheduler, from there to graph and admission, and on to executors and caches; constraints go from control
# to admission, and recorded runs wrap the scheduler and keep the events that telemetry may lose; an outbox sends the last
# reports of runs with their events. The runtime's __init__ may import them all.
FOLDERS: dict[str, frozenset[str]] = {
    "engine": frozenset({"_engine_parts", "_run", "_scheduler", "_observers", "_outbox", "_support", "bus"}),
    "_engine_parts": frozenset({"_scheduler", "_control", "_outbox", "_admission", "_support", "cache"}),
    "_run": frozenset(
        {
            "_engine_parts",
            "_scheduler",
            "_observers",
            "_recovery",
            "_outbox",
            "_resources",
            "_support",
            "executors",
            "telemetry",
        }
    ),
    "_scheduler": frozenset({"_graph", "_admission", "_resources", "_support", "cache", "executors"}),
    "_recovery": frozenset({"_scheduler", "_graph", "_support", "cache", "telemetry"}),
    "_control": frozenset({"_registers", "_gates", "_run_reports", "_admission", "_support"}),
    "_registers": frozenset({"_admission", "_support"}),
    "_gates": frozenset({"_admission", "_support"}),
    "_run_reports": frozenset({"_admission", "_support"}),
    "_observers": frozenset({"_support"}),
    "_admission": frozenset({"_support"}),
    "_resources": frozenset({"_support"}),
    "cache": frozenset({"executors", "_storage", "_support"}),
    "executors": frozenset(),
    "telemetry": frozenset({"_support"}),
    "bus": frozenset(),
    "file": frozenset(),
    "local": frozenset({"_support"}),
    "starting": frozenset({"_graph"}),
    "serving": frozenset({"starting", "_graph", "_storage", "_support"}),
    "_graph": frozenset(),
    "_durable": frozenset({"_storage", "_support"}),
    "_outbox": frozenset({"_run_reports", "_storage", "_support"}),
    "_storage": frozenset(),
    "_support": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Module:
    """A source file: its dotted name, its distribution, and the dotted names that it imports."""

    name: str
    distribution: str
    imports: frozenset[str]


def read_modules(packages: Path) -> dict[str, Module]:
    """Read the sources of all distributions, by the name under which each is imported."""
    modules: dict[str, Module] = {}
    for source in sorted(packages.glob("*/src")):
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            imports = frozenset(imported_names(ast.parse(path.read_bytes()), parts[:-1]))
            modules[name] = Module(name, source.parent.name, imports)
    return modules


def imported_names(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Every dotted name that a file imports, anywhere in it, relative ones resolved against its package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join((*above, *([node.module] if node.module else [])))
            yield from (f"{start}.{alias.name}" for alias in node.names)
            if start == "cascade":  # it runs the SDK's __init__.py, whatever it takes out of it
                yield start


def target(name: str, modules: Mapping[str, Module]) -> Module | None:
    """Find what an imported name means: a module, or something in one."""
    return modules.get(name) or modules.get(name.rpartition(".")[0])


def allowed_for(distribution: str) -> frozenset[str]:
    """The distributions that one may import: none if it has no place in the architecture."""
    family = (name for name in ARROWS if name.endswith("-") and distribution.startswith(name))
    return ARROWS.get(distribution if distribution in ARROWS else next(family, ""), frozenset())


def wrong_arrows(modules: Mapping[str, Module]) -> list[str]:
    """Every import that leads from one distribution into another that it may not know."""
    return [
        f"{module.name} ({module.distribution}) imports {name} ({found.distribution})"
        for module in modules.values()
        for name in sorted(module.imports)
        if (found := target(name, modules)) and found.distribution != module.distribution
        if found.distribution not in allowed_for(module.distribution)
    ]


def importers(modules: Mapping[str, Module]) -> dict[str, list[str]]:
    """Find for each distribution the others that import it."""
    found = {
        (imported.distribution, module.distribution)
        for module in modules.values()
        for name in module.imports
        if (imported := target(name, modules)) and imported.distribution != module.distribution
    }
    return {name: sorted(other for each, other in found if each == name) for name, _ in found}


def cycle_of(modules: Mapping[str, Module]) -> list[str]:
    """Find modules that import each other in a cycle, in order; an empty list if there are none."""
    graph = {
        module.name: {found.name for name in module.imports if (found := target(name, modules))}
        - {module.name}
        for module in modules.values()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def folder_of(name: str) -> str:
    """Return the folder or file of the runtime in which a module is."""
    return name.removeprefix(RUNTIME).strip(".").partition(".")[0] or PUBLIC


def folder_edges(modules: Mapping[str, Module]) -> dict[tuple[str, str], str]:
    """Find the imports between folders of the runtime, each with one example."""
    edges: dict[tuple[str, str], str] = {}
    for module in modules.values():
        if module.name.partition(RUNTIME)[0] or module.distribution != "cascade-runtime":
            continue
        for name in sorted(module.imports):
            found = target(name, modules)
            if found is None or not found.name.startswith(RUNTIME):
                continue
            edge = folder_of(module.name), folder_of(found.name)
            if edge[0] != edge[1]:
                edges.setdefault(edge, f"{module.name} imports {name}")
    return edges


def wrong_folders(modules: Mapping[str, Module]) -> list[str]:
    """Every import between folders of the runtime that the table does not allow."""
    return [
        f"{folder} -> {other}: {example}"
        for (folder, other), example in folder_edges(modules).items()
        if folder != PUBLIC and other not in FOLDERS.get(folder, frozenset())
    ]


def private_imports(modules: Mapping[str, Module]) -> list[str]:
    """Every import of a private name or module of another distribution."""
    return [
        f"{module.name} imports {name} ({found.distribution})"
        for module in modules.values()
        for name in sorted(module.imports)
        if (found := target(name, modules)) and found.distribution != module.distribution
        if any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
    ]


def undeclared(modules: Mapping[str, Module], declared: Mapping[str, set[str]]) -> list[str]:
    """Every import of another distribution that the importing one's pyproject.toml does not ask for."""
    owners = importlib.metadata.packages_distributions()
    return sorted(
        f"{module.distribution} imports {name} without asking for it ({module.name})"
        for module in modules.values()
        for name in {imported.partition(".")[0] for imported in module.imports}
        - sys.stdlib_module_names
        - {"cascade"}
        if not declared[module.distribution] & {normal(owner) for owner in owners.get(name, [name])}
    ) + sorted(
        f"{module.distribution} imports {name} without asking for {found.distribution} ({module.name})"
        for module in modules.values()
        for name in module.imports
        if (found := target(name, modules)) and found.distribution != module.distribution
        if found.distribution not in declared[module.distribution]
    )


def read_declared(packages: Path) -> dict[str, set[str]]:
    """What each distribution asks for, extras too, by its normal name."""
    declared: dict[str, set[str]] = {}
    for path in sorted(packages.glob("*/pyproject.toml")):
        project = tomllib.loads(path.read_text("utf-8"))["project"]
        lists = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
        names = (re.match(r"[\w.-]+", requirement) for requirements in lists for requirement in requirements)
        declared[path.parent.name] = {normal(name.group()) for name in names if name}
    return declared


def normal(distribution: str) -> str:
    """One spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@pytest.fixture(scope="module")
def sources() -> dict[str, Module]:
    """All modules of this repository."""
    return read_modules(PACKAGES)


@pytest.mark.full
def test_arrows(sources: dict[str, Module]) -> None:
    """No module imports one that stands beside it or above it."""
    assert wrong_arrows(sources) == []


def test_no_cycle(sources: dict[str, Module]) -> None:
    """No modules import each other in a cycle: not within a package, inside a function or for types either."""
    assert cycle_of(sources) == []


def test_folders_of_the_runtime_import_each_other_only_along_the_way_of_the_data(
    sources: dict[str, Module],
) -> None:
    """An import against the table is either a mistake or a new decision, to be made there."""
    assert wrong_folders(sources) == []


def test_the_table_of_folders_has_no_cycle_and_lists_what_is_there(sources: dict[str, Module]) -> None:
    """Every folder of the runtime has its place, nothing imports the engine, and no edge is left over."""
    graphlib.TopologicalSorter(FOLDERS).prepare()  # raises CycleError
    there = {folder_of(name) for name in sources if name.startswith(RUNTIME)}
    assert there == {*FOLDERS, PUBLIC}
    assert not any("engine" in allowed for allowed in FOLDERS.values())
    used = set(folder_edges(sources))
    unused = [(folder, other) for folder, allowed in FOLDERS.items() for other in sorted(allowed)]
    assert [edge for edge in unused if edge not in used] == []


def test_no_distribution_imports_what_is_private_in_another(sources: dict[str, Module]) -> None:
    """A leading underscore means that the module can change without notice."""
    assert private_imports(sources) == []


def test_the_list_of_affected_packages_is_that_of_the_imports(sources: dict[str, Module]) -> None:
    """After a change, the longer cases run of exactly the packages that import what has changed."""
    settings = tomllib.loads((PACKAGES.parent / "pyproject.toml").read_text("utf-8"))
    assert settings["tool"]["cascade"]["imported-by"] == importers(sources)


def test_what_is_imported_is_asked_for(sources: dict[str, Module]) -> None:
    """Whatever a distribution imports, its pyproject.toml names."""
    assert undeclared(sources, read_declared(PACKAGES)) == []


def test_interfaces_ask_for_nothing() -> None:
    """The distribution on which all others stand depends on nothing at all."""
    assert read_declared(PACKAGES)[BASE] == set()


def test_all_sources_are_read(sources: dict[str, Module]) -> None:
    """The checks see every distribution, the SDK's own file and its import of the runtime."""
    assert {module.distribution for module in sources.values()} == set(read_declared(PACKAGES))
    assert sources["cascade"].distribution == SDK
    assert any(name.startswith("cascade.runtime") for name in sources["cascade"].imports)


# The checks themselves, on a small tree with one fault at a time.


@pytest.mark.parametrize(
    ("check", "path", "source", "found"),
    [
        (wrong_arrows, "runtime/x.py", "from cascade.connectors import mqtt", "cascade.connectors.mqtt"),
        (wrong_arrows, "runtime/x.py", "from .. import interfaces", "cascade (cascade-py)"),
        (cycle_of, "runtime/engine.py", "def f():\n    from . import x", "cascade.runtime.x"),
        (wrong_folders, "runtime/_support/a.py", "from cascade.runtime import engine", "_support -> engine"),
        (private_imports, "connectors/y.py", "from cascade.runtime._a import B", "imports cascade.runtime._a"),
        (lambda modules: undeclared(modules, defaultdict(set)), "y.py", "import pytest", "imports pytest without"),
    ],
)  # fmt: skip
def test_a_wrong_import_is_found(
    tmp_path: Path, check: Callable[[dict[str, Module]], list[str]], path: str, source: str, found: str
) -> None:
    """Each check names it, wherever it stands in the file."""
    sources = {
        f"{SDK}/src/cascade/__init__.py": "",
        f"{BASE}/src/cascade/interfaces/__init__.py": "import json",
        "cascade-runtime/src/cascade/runtime/engine.py": "",
        "cascade-runtime/src/cascade/runtime/_a.py": "B = 1",
        "cascade-runtime/src/cascade/runtime/x.py": "from cascade.runtime import engine",
        "cascade-connector-mqtt/src/cascade/connectors/mqtt.py": "import cascade.interfaces",
    }
    owner = "cascade-runtime" if path.startswith("runtime") else "cascade-connector-y"
    for name, text in (sources | {f"{owner}/src/cascade/{path}": source}).items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    assert found in str(check(read_modules(tmp_path)))
