"""These tests share long limits: put their folder where Python finds it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from long_limits import AGES, LIMITS


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give nothing up, and warn of nothing late, because the machine is slow or stands still."""
    for module, name in LIMITS:
        monkeypatch.setattr(f"{module}.{name}", AGES)
