"""One search, from the plan of its request to its answer: what became known of it on the way."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retrieval.content import Modality
from retrieval.errors import TwinspireError
from server.translation.queries import Plan


@dataclass(slots=True)
class Task:
    """One search on its way through a batch."""

    plan: Plan
    started: float = 0.0  # perf_counter when it came in
    vectors: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # of encoded parts, by position
    readings: NDArray[np.float32] | None = None  # of the content, in a search by aspect
    truncated: bool = False
    scale: float = 1.0  # what turns the search's scores into the answer's
    error: TwinspireError | None = None
    decode_ms: float = 0.0
    encode_ms: float = 0.0  # with decoding
    queue_ms: float = 0.0
    search_ms: float = 0.0
    fetch_ms: float = 0.0

    @property
    def needs_encoder(self) -> bool:
        """Whether some part is still content."""
        return not self.vectors and any(part.content is not None for part in self.plan.parts)

    @property
    def needs_decoder(self) -> bool:
        """Whether some part is a file that is not decoded yet."""
        contents = (part.content for part in self.plan.parts if part.content is not None)
        return any(content.modality != Modality.TEXT and content.decoded is None for content in contents)
