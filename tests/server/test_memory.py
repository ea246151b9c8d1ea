"""What lies about after calls that ended badly is freed soon, though the collector comes seldom."""

import asyncio
import gc
import weakref

from server.memory import BadEnds


class Circle:
    """Refers to itself, as an aborted call of the library does."""

    def __init__(self) -> None:
        self.itself = self


def test_bad_ends_are_freed_a_few_hundred_at_a_time() -> None:
    async def end(times: int) -> list[weakref.ref[Circle]]:
        ends, circles = BadEnds(), []
        for _ in range(times):
            circles.append(weakref.ref(Circle()))
            ends.count()
        await asyncio.sleep(0)
        return circles

    gc.collect()
    gc.disable()
    try:
        many = asyncio.run(end(450))
        assert sum(circle() is None for circle in many) >= 200
    finally:
        gc.enable()
