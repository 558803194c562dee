"""What of a script counts as the code of a step, and what does not."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from cascade.runtime._recovery.step_digests import StepDigests

READS = "\n@task\ndef step(x):\n    return x + {}\n"
CALLS = READS.format("USED(x)")

COUNTS: dict[str, tuple[str, str, str]] = {
    "a lambda": ("USED = lambda x: x + 1", "USED = lambda x: x + 2", CALLS),
    "a partial function": ("USED = partial(pow, 1)", "USED = partial(pow, 2)", CALLS),
    "a function in a dict": ("def f(x): return 1\nUSED = {0: f}", "def f(x): return 2\nUSED = {0: f}", READS.format("USED[0](x)")),
    "an imported function": ("from math import sin as USED", "from math import cos as USED", CALLS),
    "an imported module": ("import math as m", "import cmath as m", READS.format("m.pi")),
    "a decorator's argument": (
        "def times(n):\n    return lambda f: lambda x: n * f(x)\n@times(1)\ndef USED(x): return x",
        "def times(n):\n    return lambda f: lambda x: n * f(x)\n@times(2)\ndef USED(x): return x",
        CALLS,
    ),
    "a class": ("class C:\n    limit = 1", "class C:\n    limit = 2", READS.format("C.limit")),
    "a method of an object": (
        "class C:\n    def f(self): return 1\nUSED = C()",
        "class C:\n    def f(self): return 2\nUSED = C()",
        READS.format("USED.f()"),
    ),
    "the type of a field": ("@dataclass\nclass C:\n    x: int", "@dataclass\nclass C:\n    x: float", READS.format("C(1).x")),
    "one of several names": ("USED, OTHER = 1, 2", "USED, OTHER = 2, 2", READS.format("USED")),
    "an addition": ("USED = 1\nUSED += 1", "USED = 1\nUSED += 2", READS.format("USED")),
    "an item": ("USED = {}\nUSED[0] = 1", "USED = {}\nUSED[0] = 2", READS.format("USED[0]")),
    "a branch": ("if True:\n    USED = 1", "if True:\n    USED = 2", READS.format("USED")),
    "the condition of a branch": ("if 1:\n    USED = 1", "if 2:\n    USED = 1", READS.format("USED")),
    "an alternative": ("try:\n    USED = 1\nexcept OSError:\n    USED = 2", "try:\n    USED = 1\nexcept OSError:\n    USED = 3", READS.format("USED")),
    "what a loop goes through": ("for USED in [1]: pass", "for USED in [2]: pass", READS.format("USED")),
    "a captured number": ("n = 1", "n = 2", "\ndef made(n):\n    return task(lambda x: x + n)\nstep = made(n)\n"),
    "a captured function": (
        "def f(): return 1",
        "def f(): return 2",
        "\ndef made(g):\n    def step(x): return g()\n    return task(step)\nstep = made(f)\n",
    ),
    "what a partial function has": ("n = 1", "n = 2", "\ndef f(a, x): return a + x\nstep = task(partial(f, n))\n"),
    "the object of a method": (
        "n = 1",
        "n = 2",
        "\n@dataclass\nclass C:\n    n: int\n    def f(self, x): return self.n\nstep = task(C(n).f)\n",
    ),
    "what a method calls on its object": (
        "class C:\n    def f(self, x): return self.g()\n    def g(self): return 1",
        "class C:\n    def f(self, x): return self.g()\n    def g(self): return 2",
        "\nstep = task(C().f)\n",
    ),
    "an object that is called": (
        "n = 1",
        "n = 2",
        "\n@dataclass\nclass C:\n    n: int\n    def __call__(self, x): return self.n\nstep = task(C(n), name='step')\n",
    ),
}  # fmt: skip

DOES_NOT: dict[str, tuple[str, str, str]] = {
    "another import": ("from math import sin, cos", "from math import sin, tan", READS.format("sin(0)")),
    "a docstring of a class": ("class C:\n    'a'\n    k = 1", "class C:\n    'b'\n    k = 1", READS.format("C.k")),
    "settings of a task": (
        "@task\ndef f(x): return x\nUSED = f",
        "@task(mode='inline')\ndef f(x): return x\nUSED = f.with_retry(3).with_rate('1/s').unrecorded()",
        CALLS,
    ),
    "settings of a function that becomes a task": ("USED = task(pow)", "USED = task(mode='inline')(pow)", CALLS),
    "what the program does when it is started": (
        "USED = 1\nif __name__ == '__main__':\n    other = 1",
        "USED = 1\nif __name__ == '__main__':\n    other = 2",
        READS.format("USED"),
    ),
    "a list that steps write to": (
        "ran = []",
        "ran = []",
        "\ndef made(seen, me):\n    @task\n    def step(x): seen.append(me); return x\n    return step\nstep = made([__name__], 1)\n",
    ),
}  # fmt: skip


def code_of(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return the digest of ``step`` in a module with this text, as a new process finds it."""
    name = f"counts_{folder.name}"
    folder.mkdir()
    path = folder / "script.py"
    path.write_text(
        f"from dataclasses import dataclass\nfrom functools import partial\nfrom cascade.spec import task\n{text}"
    )
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return StepDigests().code(module.step.function)


@pytest.mark.parametrize(("name", "edits"), [("counts", COUNTS), ("does not", DOES_NOT)])
def test_what_a_step_uses_of_its_module_is_its_code(
    name: str, edits: dict[str, tuple[str, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the module gives a name its meaning; the settings of tasks, and what no step uses, do not count."""
    wrong = []
    for number, (what, (before, after, step)) in enumerate(edits.items()):
        codes = [
            code_of(tmp_path / f"{kind}{number}", text + step, monkeypatch)
            for kind, text in (("before", before), ("after", after))
        ]
        if b"" in codes or (codes[0] != codes[1]) != (name == "counts"):
            wrong.append(what)
    assert wrong == []
