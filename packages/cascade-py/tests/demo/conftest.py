"""The demo is a program, not a package: put its folder where Python finds it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "demo"
sys.path.insert(0, str(DEMO))


@pytest.fixture
def demo() -> Path:
    """The folder of the demo."""
    return DEMO


@pytest.fixture
def write_files(tmp_path: Path) -> Callable[[Mapping[str, str | bytes]], Path]:
    """Write files below a new folder, by their paths; return the folder."""

    def write(files: Mapping[str, str | bytes]) -> Path:
        folder = tmp_path / "given"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return write
