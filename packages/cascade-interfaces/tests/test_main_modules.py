"""The main module of a program: how it is found, whether an import runs the program, and when it is being imported."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cascade.interfaces.main_module import (
    MainModule,
    importing_main,
    is_guarded,
    is_importing_main,
    main_module,
)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module in the place of this program's main module."""
    made = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__mp_main__", made)
    monkeypatch.setitem(sys.modules, "__main__", made)
    monkeypatch.setattr(sys, "argv", ["etl.py", "--fast"])
    return made


@pytest.mark.parametrize(
    ("spec", "name"), [(None, ""), ("app.etl", "app.etl"), ("__main__", ""), ("app.__main__", "app.__main__")]
)
def test_a_main_module_is_known_by_its_file_and_the_name_of_python_m(
    main: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str | None, name: str
) -> None:
    """With the arguments of the program; of a folder or an archive that Python runs, only the file is known."""
    (tmp_path / "etl.py").write_text("")
    monkeypatch.chdir(tmp_path)
    main.__spec__ = spec and SimpleNamespace(name=spec)
    for path in (str(tmp_path / "etl.py"), "etl.py"):
        main.__file__ = path
        assert main_module() == MainModule(str(tmp_path / "etl.py"), name, ("etl.py", "--fast"))


@pytest.mark.parametrize("path", [None, "<stdin>", "missing.py", "."])
def test_a_program_that_no_file_contains_has_no_main_module(main: Any, path: str | None) -> None:
    """A notebook, ``python -c``, standard input; a file that has gone; a folder."""
    if path is not None:
        main.__file__ = path
    assert main_module() is None


def test_a_program_of_python_m_is_imported_as_a_part_of_its_package(
    main: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its relative imports work, it knows that it is being imported, and its functions are found under its other name."""
    package = tmp_path / "package_of_a_program"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("value = 7\n")
    (package / "etl.py").write_text(
        "import sys\n"
        "from cascade.interfaces.main_module import is_importing_main\n"
        "from .other import value\n"
        "def own(): return value\n"
        "found = __name__, __package__, is_importing_main(), sys.argv[1:], sys.modules[__name__].__dict__ is globals()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = str(package / "etl.py")
    module = MainModule(path, "package_of_a_program.etl", ("etl.py", "--fast")).imported()
    assert module.found == ("__mp_main__", "package_of_a_program", True, ["--fast"], True)
    assert (module.own(), module.own.__module__) == (7, "__mp_main__")
    assert not is_importing_main()
    assert MainModule(path, "", ()).imported() is module
    for name in ("package_of_a_program", "package_of_a_program.other"):
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def", "SyntaxError: "),
        (None, "FileNotFoundError: "),
    ],
)
def test_a_main_module_that_cannot_be_imported_is_one_error(
    main: Any, tmp_path: Path, content: str | None, problem: str
) -> None:
    """Whatever the program does at its import; the process no longer counts as one that imports a program."""
    path = tmp_path / "etl.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ImportError) as raised:
        MainModule(str(path), "", ("etl.py",)).imported()
    assert str(raised.value).startswith(f"{path} cannot be imported ({problem}")
    assert not is_importing_main()


def test_a_process_imports_a_program_only_meanwhile() -> None:
    """Also if the import fails."""
    assert not is_importing_main()
    seen = []

    def fail() -> None:
        with importing_main():
            seen.append(is_importing_main())
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert (seen, is_importing_main()) == ([True], False)


@pytest.mark.parametrize(
    ("content", "guarded"),
    [
        (b'if __name__ == "__main__":\n    main()', True),
        (b'if debug and "__main__" == __name__:\n    main()', True),
        (b'def f():\n    if __name__ != "__mp_main__": return', True),
        (b"main()", False),
        (b"print(__name__)", False),
        (b"if name: main(__name__)", False),
        (b"if x.__name__: main()", False),
        (b"def", False),
        (b"\0", False),
        (b"# coding: unknown", False),
        (None, False),
    ],
)
def test_a_program_is_guarded_if_it_asks_for_its_name(
    tmp_path: Path, content: bytes | None, guarded: bool
) -> None:
    """Then its import does not run it; a file that cannot be read is not known to ask."""
    path = tmp_path / "etl.py"
    if content is not None:
        path.write_bytes(content)
    assert is_guarded(str(path)) is guarded
