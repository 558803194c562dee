"""A checkout of the project: its sources, copies of it, and how tests are run in a copy."""

import dataclasses
import hashlib
import os
import shutil
import subprocess
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Checkout:
    """A folder with the whole project; only files that git knows or would add count."""

    root: Path

    def files(self) -> list[Path]:
        """Return the paths of all files, relative to the root."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True).stdout
        paths = (Path(name) for name in sorted(listed.split("\0")) if name)
        return [path for path in paths if (self.root / path).is_file()]

    def sources(self) -> list[Path]:
        """Return the Python files that the distributions ship."""
        return [path for path in self.files() if path.suffix == ".py" and path.parts[2:3] == ("src",)]

    def fingerprint(self) -> str:
        """Return a digest of all Python files: what was recorded holds as long as it stays the same."""
        digest = hashlib.sha256()
        for path in self.files():
            if path.suffix in {".py", ".toml"}:
                digest.update(f"{path}\0".encode() + (self.root / path).read_bytes())
        return digest.hexdigest()[:16]

    def copy_to(self, folder: Path) -> "Checkout":
        """Copy every file below a folder."""
        for path in self.files():
            (folder / path.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / path, folder / path)
        return Checkout(folder)

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment whose Python imports this checkout, wherever the packages are installed from.

        Coverage of the process that asks is left out: its settings are not those of the recording.
        """
        here = Path(__file__).parents[1]
        sources = sorted(self.root.glob("packages/*/src"))
        path = os.pathsep.join(map(str, [*sources, here]))
        own = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        return {**own, "PYTHONPATH": path, **more}
