"""A workflow with several steps, on engines in a process of their own: what the pictures of the page show."""

import asyncio
import sys

import cascade as cs

PARTS = 240


@cs.task
async def list_parts() -> list[int]:
    return list(range(PARTS))


@cs.task
async def photograph(part: int) -> int:
    await asyncio.sleep(0.05)
    return part


@cs.task
async def inspect(photo: int) -> bool:
    await asyncio.sleep(0.4)
    if photo in (7, 19):
        raise ValueError(f"part {photo}: the photo is too dark")
    return photo % 5 != 0


@cs.task
async def measure(photo: int) -> float:
    await asyncio.sleep(0.1)
    return photo / 10


@cs.task
async def report(good: list[bool], sizes: list[float]) -> str:
    return f"{sum(good)} of {len(sizes)} parts are good"


@cs.task
async def supervise() -> str:
    await asyncio.Event().wait()  # so that the run is there however slow the browser is
    return "the shift is over"


@cs.task
async def calibrate() -> None:
    raise RuntimeError("the oven is 12 degrees too cold")


photos = photograph.map(part=list_parts())
shift = report(
    good=inspect.map(photo=photos).with_concurrency(6), sizes=measure.map(photo=photos).with_concurrency(3)
)


async def engine(url: str, name: str) -> None:
    connector = cs.connector(f"{url}?source_id={name}", keepalive=120)
    run_id = f"shift-{name[-1]}"
    await connector.connect()
    try:
        if name.startswith("oven"):
            await cs.arun(calibrate(), connector=connector, run_id=run_id)
        else:
            await cs.arun([shift, supervise()], connector=connector, run_id=run_id, on_failure="continue")
    except RuntimeError as error:
        print(f"{name} failed: {error}", file=sys.stderr)
    finally:
        await connector.disconnect()


async def main(url: str, *names: str) -> None:
    await asyncio.gather(*(engine(url, name) for name in names))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
