"""How much of an index a search must reach, where it lies on several nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.errors import BackendUnavailable
from retrieval.redis_server import Command, RedisServer


@dataclass(slots=True)
class Reach:
    """How much of the index a search must reach, and what it did."""

    may_miss: bool  # parts that are away
    answered: bool = False  # some part did
    fault: BackendUnavailable | None = None  # of a part that did not

    @property
    def missed(self) -> bool:
        """Whether some part was away.

        Raises:
            BackendUnavailable: if all were.
        """
        if self.fault is not None and not self.answered:
            raise self.fault
        return self.fault is not None

    def ask(self, server: RedisServer, commands: Sequence[Command], *, lanes: int = 1) -> list[Any]:
        """Run commands that read, and note whether some part was away.

        Returns:
            The replies; of parts that are away, if that is allowed, the error.

        Raises:
            BackendUnavailable: if a part is away that must not be.
        """
        replies = server.run(commands, lanes=lanes, partial=self.may_miss)
        for reply in replies:
            if isinstance(reply, BackendUnavailable):
                self.fault = reply
            else:
                self.answered = True
        return replies


EVERYWHERE = Reach(may_miss=False)
