"""What several test files of the kit need."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Outcome = subprocess.CompletedProcess[str]

WITHOUT = (
    "-p",
    "no:cacheprovider",
    "-p",
    "no:hypothesispytest",
)  # the latter imports all of hypothesis without need


@pytest.fixture
def run_pytest() -> Callable[..., Outcome]:
    """Run pytest in a process of its own on a folder or file, with further words and environment variables."""

    def run(path: Path, *words: str, **environment: str) -> Outcome:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *WITHOUT, *words, str(path)],
            cwd=path if path.is_dir() else path.parent,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run
