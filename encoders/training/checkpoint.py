"""Where a training stage stands, on disk: killed at any moment, it goes on to the same weights."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from retrieval.durable import write_durably
from retrieval.workspace import translate_sqlite_errors

State: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """A file that holds tensors, numbers and text; read without running code."""

    path: Path

    def write(self, state: State) -> None:
        """Replace the file in one step.

        Raises:
            StorageFull: if the disk is full.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with translate_sqlite_errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self.path, buffer.getvalue())

    def read(self) -> State | None:
        """Return what was written; None if nothing was, or it is damaged: the stage then starts anew."""
        try:
            state: State = torch.load(self.path, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError):
            return None
        return state if isinstance(state, dict) else None
