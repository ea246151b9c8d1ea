"""Encoding what requests hold: files are decoded, then the contents of a batch encoded together."""

import time
from collections.abc import Sequence
from typing import TypeAlias

from encoders.encoder import Encoder
from encoders.memory import encode_within_memory
from retrieval.content import Content, Modality
from retrieval.errors import (
    DeadlineExceeded,
    MediaTooLarge,
    MediaUnreadable,
    ModalityNotServed,
    ModelNotLoaded,
    TwinspireError,
)
from server.aspects import Aspects
from server.failures import known
from server.prepared import PreparedEncoder
from server.task import Task

_Owner: TypeAlias = tuple[Task, int, Content]  # a content, and the place of its part in a task


class TaskEncoder:
    """Encodes the contents that tasks ask by, with the encoder of one loaded version."""

    def __init__(self, encoder: Encoder | None, aspects: Aspects) -> None:
        self._encoder = encoder
        self._aspects = aspects

    def decode(self, tasks: Sequence[Task]) -> int:
        """Decode the files that are asked by; a task whose file cannot be decoded gets its error.

        It may be left out: `encode` decodes what is not. But that lets others wait.

        Returns:
            How many bytes they were decoded to.
        """
        if not isinstance(self._encoder, PreparedEncoder):
            return 0
        started = time.perf_counter()
        owners = [owner for owner in _owners(tasks) if owner[2].modality != Modality.TEXT]
        try:
            prepared = self._encoder.prepare([content for _, _, content in owners])
        except Exception as error:
            failure = known("decode", error)
            for task, _, _ in owners:
                task.error = failure
            return 0
        size = 0
        for task, at, content in _decoded(owners, prepared):
            task.plan.parts[at].content = content
            size += 0 if content.decoded is None else content.decoded.nbytes
        for task, _, _ in owners:
            task.decode_ms = (time.perf_counter() - started) * 1e3
        return size

    def encode(self, tasks: Sequence[Task]) -> None:
        """Encode the contents of all tasks in one call; a task that fails gets its error."""
        started = time.perf_counter()
        waiting = [task for task in tasks if task.error is None and task.needs_encoder]
        if not waiting:
            return
        try:
            self._encode(waiting)
        except Exception as error:
            if len(waiting) == 1:
                waiting[0].error = known("encode", error)
            else:  # find the one that it was
                for task in waiting:
                    self.encode([task])
        elapsed_ms = (time.perf_counter() - started) * 1e3
        for task in waiting:
            task.encode_ms = task.decode_ms + elapsed_ms

    def _encode(self, tasks: Sequence[Task]) -> None:
        assert self._encoder is not None
        owners = _owners(tasks)
        contents = [content for _, _, content in owners]
        if isinstance(self._encoder, PreparedEncoder):
            owners = _decoded(owners, self._encoder.prepare(contents))
            owners = self._read_aspects(owners)
            contents = [content for _, _, content in owners]
            if not contents:
                return
        vectors = encode_within_memory(self._encoder.encode_queries, contents)
        cut = self._encoder.truncates(contents)
        for (task, at, _), vector, truncated in zip(owners, vectors, cut, strict=True):
            task.vectors[at] = vector
            task.truncated = task.truncated or truncated

    def _read_aspects(self, owners: Sequence[_Owner]) -> list[_Owner]:
        """Encode what is searched by aspect, and return the rest."""
        asked = [owner for owner in owners if owner[0].plan.aspects]
        if asked:
            vectors, readings = self._aspects.encode([content for _, _, content in asked])
            for (task, at, _), vector, read in zip(asked, vectors, readings, strict=True):
                task.vectors[at], task.readings = vector, read
        return [owner for owner in owners if not owner[0].plan.aspects]


def _owners(tasks: Sequence[Task]) -> list[_Owner]:
    """List all contents of tasks."""
    return [
        (task, at, part.content)
        for task in tasks
        for at, part in enumerate(task.plan.parts)
        if part.content is not None
    ]


def _decoded(owners: Sequence[_Owner], prepared: Sequence[Content | TwinspireError]) -> list[_Owner]:
    """Keep what was decoded; a task with something that was not gets its error."""
    for (task, at, _), outcome in zip(owners, prepared, strict=True):
        if isinstance(outcome, TwinspireError):
            task.error = name_field(outcome, task.plan.parts[at].field)
    return [
        (task, at, outcome)
        for (task, at, _), outcome in zip(owners, prepared, strict=True)
        if task.error is None and isinstance(outcome, Content)
    ]


def name_field(error: TwinspireError, field: str) -> TwinspireError:
    """Let an error of a file say where in the request the file is."""
    message = f"{field}: {str(error).partition(': ')[2]}"
    if isinstance(error, MediaUnreadable | MediaTooLarge):
        return type(error)(message, field=field)
    return DeadlineExceeded(message) if isinstance(error, DeadlineExceeded) else error


def check_content(encoder: Encoder | None, content: Content, field: str) -> None:
    """Check that an encoder takes a content.

    Raises:
        ModelNotLoaded: if there is no encoder.
        ModalityNotServed: if it does not take this kind of content.
    """
    if encoder is None:
        raise ModelNotLoaded(
            f"{field}: the collection has no encoder: only vectors and item ids are answered"
        )
    if content.modality not in encoder.card.modalities:
        served = ", ".join(encoder.card.modalities)
        raise ModalityNotServed(f"{field}: the encoder takes {served}, got {content.modality}")
