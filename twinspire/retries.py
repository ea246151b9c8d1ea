"""When a failed call is worth trying again, and after how long."""

from dataclasses import dataclass, field
from random import Random

from retrieval.errors import Exhausted, TwinspireError, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How patient a client is. Attempts also end where the call's deadline does.

    UNAVAILABLE is retried after a random time below a doubling bound, so that clients that failed
    together do not return together. RESOURCE_EXHAUSTED is retried only when the server says after how
    long; without that it is a limit that no repetition passes.
    """

    attempts: int = 5  # calls in all, the first included; 1 = never retry
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0
    jitter: Random = field(default_factory=Random, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts: expected at least 1, got {self.attempts}")
        if not 0 < self.first_delay_s <= self.max_delay_s:
            raise ValueError(
                f"expected 0 < first_delay_s <= max_delay_s, got {self.first_delay_s} and {self.max_delay_s}"
            )

    def delay_s(self, error: TwinspireError, attempt: int) -> float | None:
        """Tell how long to wait before the next try, or None if there is none.

        Args:
            error: what the last try ended in.
            attempt: how many tries there were, from 1.
        """
        if attempt >= self.attempts:
            return None
        if isinstance(error, Exhausted) and error.retry_after_s is not None:
            # Never before the server's time; up to a quarter later, to spread the crowd.
            return error.retry_after_s * (1 + 0.25 * self.jitter.random())
        if isinstance(error, Unavailable):
            bound = min(self.max_delay_s, self.first_delay_s * 2.0 ** (attempt - 1))
            return bound * (0.5 + 0.5 * self.jitter.random())
        return None
