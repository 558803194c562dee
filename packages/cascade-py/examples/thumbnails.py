"""Thumbnails of many images, made in parallel by processes, one for each core.

Shows ``mode="process"``: the task's function is found by its name in another process, so it lives
in a module that can be imported; the last lines of this file import it, so that it is one also
when it is run as a program. It needs Pillow, and paints its images itself.

    python -m pip install pillow
    python thumbnails.py
"""

import os
import tempfile
from pathlib import Path

from PIL import Image

import cascade as cs

SIZE = (64, 64)


@cs.task(mode="process")
def paint(folder: Path, number: int) -> Path:
    """Paint an image, and return where it is."""
    path = folder / f"image-{number}.png"
    shade = 20 * number
    Image.linear_gradient("L").resize((640, 480)).point(lambda grey: (grey + shade) % 256).save(path)
    return path


@cs.task(mode="process")
def shrink(path: Path) -> tuple[str, tuple[int, int], int]:
    """Make one thumbnail; return its name, its size and the process that made it."""
    with Image.open(path) as image:
        image.thumbnail(SIZE)
        image.save(path.with_suffix(".jpg"))
        return path.with_suffix(".jpg").name, image.size, os.getpid()


def workflow(folder: Path, count: int) -> cs.LazyResult[list[tuple[str, tuple[int, int], int]]]:
    """Declare a thumbnail for each image; how many there are is known only in the run."""
    painted = paint.partial(folder=folder).map(number=range(count))
    return shrink.map(path=painted)


def main() -> None:
    """Run it in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        made = cs.run(workflow(Path(folder), 8))
        assert os.getpid() not in {process for _, _, process in made}
        for name, (width, height), _ in made:
            print(f"{name}: {width} x {height}")


if __name__ == "__main__":
    import thumbnails

    thumbnails.main()
