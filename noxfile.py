"""What can be done in a checkout: ``nox -l`` lists it, ``nox -s NAME -- ARGUMENTS`` does it.

Every session makes its own environment below ``.nox`` and needs nothing but Python, pip and nox.
"""

import argparse
import json
import logging
import os
import re
import shlex
import shutil
import sys
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

import nox
from nox.command import CommandFailed
from nox.project import dependency_groups, load_toml, python_versions

if sys.version_info < (3, 11):  # noqa: UP036 - nox itself runs on older ones and would fail later, in other words
    sys.exit(f"Cascade needs Python 3.11 or newer; this is {sys.executable}, Python {sys.version.split()[0]}")

# Tests start hundreds of programs, each of which would compile everything again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# nox looks for uv also where no session uses it, and reports that as if something were missing.
logging.getLogger("nox").addFilter(lambda record: record.getMessage() != "uv binary not found.")

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

ROOT = Path(__file__).parent
sys.path.append(str(ROOT / "packages/cascade-testkit/release"))

from releasing import archives, decisions  # noqa: E402
from releasing.checkout import LIST, Checkout, look, tracked  # noqa: E402
from releasing.index import Unreachable, ask, index_of_pip, only, served  # noqa: E402

SETTINGS = load_toml(ROOT / "pyproject.toml")
PROJECTS = {
    path.parent.name: load_toml(path)["project"] for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
}
IMPORTED_BY: dict[str, list[str]] = SETTINGS["tool"]["cascade"]["imported-by"]
EXAMPLES = [
    path.parent for path in sorted(ROOT.glob("packages/*/examples/*/pyproject.toml"))
]  # by a third party
FOR_DEMO = (
    "cascade-interfaces",
    "cascade-runtime",
    "cascade-connector-mqtt",
    "cascade-testkit[brokers]",
    "cascade-cli",
    "cascade-py[cli,mqtt]",
)
HATCHLING = "hatchling>=1.27"
README_LINE = re.compile(r'^pip install "(cascade-[^"]+)"$', re.MULTILINE)
PYRIGHT = {
    "typeCheckingMode": "strict",
    "enableTypeIgnoreComments": False,  # those are mypy's: each checker has to find a mistake by itself
    "reportUnnecessaryTypeIgnoreComment": True,
}
# Tests with brokers and other programs wait more than they compute: two workers for each core use the waits.
WORKERS = str(min(2 * (os.cpu_count() or 1), 4))
# Within these a case starts that ``tests -- --since COMMIT`` adds to the gate: .ci/run has six minutes.
SECONDS_FOR_FULL = 45
PYTEST = ("-m", "pytest", "-n", WORKERS, "--dist", "worksteal")


@nox.session
def demo(session: nox.Session) -> None:
    """Slow, pause and resume an audit of the standard library, live on a real broker (-- --help explains more)."""
    install_for_demo(session)
    session.run("python", "packages/cascade-py/demo", *session.posargs)


@nox.session(reuse_venv=False)
def tests(session: nox.Session) -> None:
    """Build the wheels, install them in a fresh environment, run the gate there: what an installed user has.

    The examples of third parties and the README's install line follow, unless arguments select tests; with
    --since COMMIT, then for about a minute the longer cases of the packages that have changed since, or import those.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--since", metavar="COMMIT")
    options, selection = parser.parse_known_args(session.posargs)
    session.install("build", HATCHLING, *dependency_groups(SETTINGS, "tests"))
    built = build_wheels(session, Path(session.create_tmp()) / "dist")
    refuse_shared_paths(session, built)
    session.install(*(f"{path}{extras_of(distribution_of(path))}" for path in built))
    run_gate(session, *selection)
    if not selection:
        try_install_line(session)
    if options.since:
        run_affected(session, options.since)


@nox.session(python=python_versions({"project": PROJECTS["cascade-py"]}), reuse_venv=False)
def pythons(session: nox.Session) -> None:
    """Run ``tests`` on each Python that the classifiers name and this machine has (-s pythons-3.14: on that one)."""
    tests(session)


@nox.session(reuse_venv=False)
def release(session: nox.Session) -> None:
    """Build and check all archives in dist, install them by the README's line from an index on loopback, run the gate.

    Uploads nothing. --quick leaves out the gate; --publishing, for the workflow of a tag, refuses what is a warning
    otherwise; --index URL names the index on which names and versions are looked up, by default that of pip.
    """
    parser = argparse.ArgumentParser(prog="nox -s release --", add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--publishing", action="store_true")
    parser.add_argument("--index", metavar="URL")
    options = parser.parse_args(session.posargs)
    checkout = refuse_release(session, options.index, publishing=options.publishing)
    install_others(session, "build", HATCHLING, "twine")
    folder = ROOT / "dist/archives"
    built = build_wheels(session, folder)
    check_archives(session, built)
    try_readme_line(session, folder)
    if not options.quick:
        install_others(session, *dependency_groups(SETTINGS, "tests"), *of_others(ours_with_extras()))
        with served(folder) as url:
            session.run("python", "-m", "pip", "install", "-q", *ours_with_extras(), env=only(url))
        run_gate(session)
    notes = decisions.notes(checkout.changelog, checkout.version)
    (ROOT / "dist/notes.md").write_text(f"{notes}\n", "utf-8")
    session.log(
        f"{folder}: {len(list(folder.iterdir()))} archives of {checkout.version}; notes: dist/notes.md"
    )


@nox.session
def full(session: nox.Session) -> None:
    """Run the gate and the cases that take over a second, from the sources."""
    install_editable(session, "tests", "docs")
    session.run("python", *PYTEST, "-m", "not nightly", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the same tests as ``full`` and print which lines none of them executes: more than twice the CPU time."""
    install_editable(session, "tests")
    session.run("coverage", "erase")
    session.run("coverage", "run", *PYTEST, "-m", "not nightly", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def unit(session: nox.Session) -> None:
    """Run the tests that need no broker, start no process and take less than a second: a minute."""
    install_editable(session, "tests")
    each_core = ("-n", "auto", "--maxprocesses", "4")  # these compute, and wait for nothing
    marked = ("-m", "not broker and not process and not full and not nightly")
    session.run("python", *PYTEST, *each_core, *marked, *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """Run every test, the long forms too."""
    install_editable(session, "nightly", "docs")
    session.run("python", *PYTEST, "-m", "nightly or not nightly", "--timeout", "1800", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Run the long forms of the faults: links and brokers that fail again and again."""
    install_editable(session, "tests")
    files = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("packages/*/tests/**/test_chaos_*.py"))]
    session.run(
        "python", *PYTEST, "-m", "nightly and not longest", "--timeout", "1800", *files, *session.posargs
    )


@nox.session
def mutation(session: nox.Session) -> None:
    """Change the sources at random places and report what no test notices (-- --help explains more)."""
    install_editable(session, "tests")
    session.run("python", "packages/cascade-testkit/mutation", *session.posargs, success_codes=[0, 1])


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format (-- --fix fixes what can be fixed)."""
    session.install(*dependency_groups(SETTINGS, "lint"))
    if "--fix" in session.posargs:
        session.run("ruff", "check", "--fix")
        session.run("ruff", "format")
    else:
        session.run("ruff", "check")
        session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types: sources, tests, programs, and the public interface as an installed user has it."""
    session.install(HATCHLING, *dependency_groups(SETTINGS, "tests", "types"))
    session.install("--no-build-isolation", *distributions())
    session.run("mypy")
    for folder in type_checked_folders():
        session.run("mypy", str(folder.relative_to(ROOT)))
    for example in EXAMPLES:
        session.run("mypy", str(example.relative_to(ROOT)), env={"MYPYPATH": str(example / "src")})
    check_public_types(session)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site in .site/html from the pages where they are, and check every link of it."""
    install_editable(session, "docs")
    session.run("python", "-m", "website", env={"PYTHONPATH": "packages/cascade-testkit/tools"})


@nox.session
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities in what an installed user gets, where an index with advisories answers."""
    session.install(HATCHLING, *dependency_groups(SETTINGS, "audit"))
    session.install("--no-build-isolation", *distributions())
    found = Path(session.create_tmp()) / "audit.json"
    found.unlink(missing_ok=True)
    # it ends with 1 for a vulnerability, and where the index does not answer: then there is no file
    session.run("pip-audit", "--local", "--format", "json", "--output", str(found), success_codes=[0, 1])
    packages = json.loads(found.read_text("utf-8"))["dependencies"] if found.exists() else []
    audited = [each for each in packages if "skip_reason" not in each]
    if not audited:
        # a mirror without advisories skips every package, and pip-audit then finds no vulnerability
        session.skip("the index gave advisories of no package")
    vulnerable = [f"{each['name']} {each['version']}" for each in audited if each["vulns"]]
    if vulnerable:
        session.error(f"known vulnerabilities: {', '.join(vulnerable)}; see {found}")
    session.log(f"{len(audited)} of {len(packages)} packages have no known vulnerability")


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Run the tests on the oldest Python and the oldest direct dependencies that are promised."""
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("".join(f"{pin}\n" for pin in lowest_pins()))
    session.log("lowest: " + ", ".join(lowest_pins()))
    session.install(HATCHLING, "-c", str(constraints), *dependency_groups(SETTINGS, "tests"))
    session.install("--no-build-isolation", "-c", str(constraints), *editable(distributions()))
    session.run("python", *PYTEST, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Print the figures as ratios within one run (-- --peers: other libraries too; -- --against CHECKOUT)."""
    install_editable(session, *(["peers"] if "--peers" in session.posargs else []))
    session.run("python", "packages/cascade-py/benchmarks", *session.posargs)


def run_gate(session: nox.Session, *selection: str) -> None:
    """Run the tests with what is installed in the session's environment, then those of the examples."""
    session.run("python", "-P", "-c", PRINT_WHERE, str(ROOT), log=False)
    session.run("python", *PYTEST, *selection)
    for example in () if selection else EXAMPLES:
        session.install("--no-build-isolation", str(example))
        session.run("python", "-m", "pytest", "-q", "--rootdir", str(example), str(example))


def build_wheels(session: nox.Session, dist: Path) -> list[Path]:
    """Build each distribution's wheel from its source archive, so that the archive is known to be whole."""
    shutil.rmtree(dist, ignore_errors=True)
    for name in PROJECTS:
        session.run(
            "python", "-m", "build", "--no-isolation", "--outdir", str(dist), f"packages/{name}", silent=True
        )
    return sorted(dist.glob("*.whl"))


def install_editable(session: nox.Session, *groups: str) -> None:
    """Install all distributions editable, beside groups of the root pyproject."""
    session.install(HATCHLING, *dependency_groups(SETTINGS, *groups))
    session.install("--no-build-isolation", *editable(distributions()))


def install_for_demo(session: nox.Session) -> None:
    """Install what a demo uses: no further executors, and no libraries for tests only."""
    session.install(HATCHLING)
    session.install("--no-build-isolation", *editable(f"./packages/{name}" for name in FOR_DEMO))


def distributions() -> list[str]:
    """Every distribution of this checkout with all its extras, as pip takes it."""
    return [f"./packages/{name}{extras_of(name)}" for name in PROJECTS]


def editable(requirements: Iterable[str]) -> list[str]:
    """One ``-e`` for each: pip takes only the argument right after it as editable."""
    return [argument for requirement in requirements for argument in ("-e", requirement)]


def extras_of(name: str) -> str:
    """All extras of a distribution, as they follow its name: ``[cli,mqtt]``, or nothing."""
    extras = ",".join(PROJECTS[name].get("optional-dependencies", {}))
    return f"[{extras}]" if extras else ""


def distribution_of(wheel: Path) -> str:
    """Tell the distribution from a wheel's file name."""
    return wheel.name.split("-")[0].replace("_", "-")


def type_checked_folders() -> list[Path]:
    """Folders whose modules are not packages: each is checked by itself, for their names may be equal."""
    folders = ("tests", "demo", "benchmarks", "mutation", "release", "tools", "examples")
    found = (path for name in folders for path in sorted(ROOT.glob(f"packages/*/{name}")))
    return [path for path in found if any((*path.glob("*.py"), *path.glob("*/__init__.py")))]


def check_public_types(session: nox.Session) -> None:
    """Let pyright and mypy read the public interface from the wheels, far from the sources."""
    folder = Path(session.create_tmp()) / "public"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(ROOT / "packages/cascade-py/tests/public_types.py", folder)
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT), "utf-8")
    with session.chdir(folder):
        session.run("mypy", "--strict", "--config-file", "", "public_types.py")
        session.run("pyright", "--pythonpath", str(Path(session.bin) / "python"), "public_types.py")


def refuse_release(session: nox.Session, index: str | None, *, publishing: bool) -> Checkout:
    """End the session with one line if this checkout cannot be released; warn of what keeps it from being published."""
    checkout = look(ROOT, PROJECTS)
    if reason := decisions.refusal(checkout, publishing=publishing):
        session.error(reason)
    names = [spelling for name in PROJECTS for spelling in decisions.spellings(name)]
    try:
        listed = ask(index or index_of_pip(), names)
    except Unreachable as exc:
        session.error(f"the index of packages cannot be asked: {exc}; nothing was built")
    for reason in decisions.refusals_of_index(listed, checkout.versions):
        session.error(reason)
    for warning in decisions.warnings(checkout, listed):
        (session.error if publishing else session.warn)(warning)
    return checkout


def install_others(
    session: nox.Session, *requirements: str, how: tuple[str, ...] = ("install", "-q")
) -> None:
    """Install, or download, what others have made; end the session with one line where that fails."""
    try:
        session.run("python", "-m", "pip", *how, *requirements)
    except CommandFailed:
        session.error("the index did not give what the release needs of others; pip's reason is above")


def check_archives(session: nox.Session, built: list[Path]) -> None:
    """Fail the session if an archive lacks a file or has one too many, or its metadata are wrong."""
    refuse_shared_paths(session, built)
    dist = built[0].parent
    files = {name: tracked(ROOT, name) for name in PROJECTS}
    found = archives.problems(dist, PROJECTS["cascade-py"]["version"], files)
    if found:
        session.error("\n".join(found))
    session.run("twine", "check", "--strict", *map(str, sorted(dist.iterdir())), silent=True, log=False)
    session.log(f"{2 * len(PROJECTS)} archives have all files of the repository, and no other")


def try_readme_line(session: nox.Session, dist: Path) -> None:
    """Run the README's line where pip knows only the new archives and what they need of others; check what it brings."""
    line = README_LINE.search((ROOT / "README.md").read_text("utf-8"))[0]
    requirements = shlex.split(line)[2:]
    index = Path(session.create_tmp()) / "index"
    shutil.rmtree(index, ignore_errors=True)
    shutil.copytree(dist, index)
    install_others(session, *of_others(requirements), how=("download", "-q", "-d", str(index)))
    python = fresh_environment(session, "by-readme")
    before = installed(session, python)
    with served(index) as url:
        session.run(python, "-m", "pip", "install", "-q", *requirements, external=True, env=only(url))
    session.run(python, "-P", "-c", PRINT_WHERE, str(ROOT), external=True, log=False)
    brought = {name: found for name, found in installed(session, python).items() if name not in before}
    for name, (version, size) in sorted(brought.items()):
        session.log(f"{name:24} {version:10} {size / 1e6:6.2f} MB")
    session.log(f"{line}: {len(brought)} packages, {sum(size for _, size in brought.values()) / 1e6:.1f} MB")
    for difference in decisions.unexpected(brought, SETTINGS["tool"]["cascade"]["brought-by-readme"]):
        session.error(f"{line}: {difference} (brought-by-readme in pyproject.toml)")


def fresh_environment(session: nox.Session, name: str) -> str:
    """Make an environment with nothing but pip; return its Python."""
    folder = Path(session.create_tmp()) / name
    session.run("python", "-m", "venv", "--clear", str(folder))
    return str(next(path for path in (folder / "bin/python", folder / "Scripts/python.exe") if path.exists()))


def installed(session: nox.Session, python: str) -> dict[str, tuple[str, int]]:
    """Return the version and the size in bytes of each distribution in an environment."""
    return json.loads(session.run(python, "-c", LIST, external=True, silent=True, log=False))


def of_others(requirements: Iterable[str]) -> list[str]:
    """Return what requirements of ours ask of other authors."""
    return decisions.asked_of_others(requirements, PROJECTS)


def ours_with_extras() -> list[str]:
    """Return every distribution with all its extras, as an index knows it."""
    return [each.rpartition("/")[2] for each in distributions()]


def refuse_shared_paths(session: nox.Session, built: Iterable[Path]) -> None:
    """Fail the session if two wheels contain one path."""
    owner: dict[str, str] = {}
    for wheel in built:
        for path in zipfile.ZipFile(wheel).namelist():
            if path in owner:
                session.error(f"{path} is in {owner[path]} and in {wheel.name}")
            owner[path] = wheel.name
    session.log(f"{len(owner)} paths, each in one wheel")


def run_affected(session: nox.Session, base: str) -> None:
    """Run the cases over a second of the packages that differ from a commit, then of those that import them."""
    changed = session.run(
        "git", "diff", "--name-only", "--no-renames", base, "--", "packages", external=True, silent=True
    )
    end = time.monotonic() + SECONDS_FOR_FULL
    for packages in affected(str(changed).splitlines()):
        left = round(end - time.monotonic())
        folders = [f"packages/{name}/tests" for name in packages]
        if not packages:
            continue
        if left <= 0:
            session.warn(f"left out, for the nightly run: the cases over a second of {', '.join(packages)}")
            continue
        session.log(f"{left} s for the cases over a second of {', '.join(packages)}")
        # Status 5: there is no such case.
        session.run(
            "python",
            *PYTEST,
            "-m",
            "full and not nightly",
            "--start-within",
            str(left),
            *folders,
            success_codes=[0, 5],
        )


def affected(changed: Iterable[str]) -> tuple[list[str], list[str]]:
    """Tell the packages in which a file has changed, and the others that import one whose sources have."""
    places = [path.split("/")[1:3] for path in changed if path.count("/") > 1]
    touched = {name for name, _ in places if name in PROJECTS}
    sources = {name for name, inside in places if inside == "src"}
    importing = {name for source in sources for name in IMPORTED_BY.get(source, [])}
    return sorted(touched), sorted(importing - touched)


# Run with -P, so that only what is installed can be imported; the argument is the checkout.
PRINT_WHERE = """
import importlib, importlib.metadata, pathlib, sys
checkout = pathlib.Path(sys.argv[1]).resolve() / "packages"
for entry in importlib.metadata.entry_points(group="cascade.connectors"):
    entry.load()
import cascade
loaded = {n: m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "cascade" and getattr(m, "__file__", None)}
strays = [f for f in loaded.values() if pathlib.Path(f).resolve().is_relative_to(checkout)]
sys.exit(f"imported from the checkout: {strays}" if strays else print(f"{len(loaded)} modules, all installed"))
"""


def try_install_line(session: nox.Session) -> None:
    """Run the README's line for installing from a clone in an environment with nothing else."""
    lines = [line.strip() for line in (ROOT / "README.md").read_text("utf-8").splitlines()]
    (line,) = [line for line in lines if line.startswith("pip install ./packages/")]
    python = fresh_environment(session, "from-clone")
    session.run(python, "-m", "pip", "install", "-q", *shlex.split(line)[2:], external=True)
    session.run(python, "-P", "-c", PRINT_WHERE, str(ROOT), external=True, log=False)


def lowest_pins() -> list[str]:
    """Pin the oldest release of everything that a distribution asks for by ``>=``."""
    asked = {
        requirement
        for project in PROJECTS.values()
        for part in (project["dependencies"], *project.get("optional-dependencies", {}).values())
        for requirement in part
        if not requirement.startswith("cascade-")
    }
    return sorted(requirement.split(",")[0].replace(">=", "==") for requirement in asked)
