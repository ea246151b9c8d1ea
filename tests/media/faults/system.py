"""A real server of pictures and sounds, and an import beside it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest

from encoders.media.decoding import Decoder
from indexer.folder_import import import_folder
from protos.twinspire.v1 import content_pb2, search_pb2
from retrieval.content import Modality
from retrieval.dead_letters import dead_letters
from retrieval.workspace import Workspace
from tests.media.files import (
    picture,
)
from tests.server.running import Failure, Running, failure_of

SUFFIXES = {Modality.IMAGE: ".png", Modality.AUDIO: ".wav", Modality.VIDEO: ".mp4"}
Refused: TypeAlias = Callable[..., None]  # see conftest.py


@dataclass
class System:
    """A workspace with pictures and tones, and a server of it."""

    running: Running
    media: Path
    decoder: Decoder
    imports: list[Path] = field(default_factory=list)

    @property
    def ws(self) -> Workspace:
        return self.running.ws

    def find(self, modality: Modality, **media: Any) -> str:
        """Search by a file, and return the id of the best hit."""
        query = search_pb2.Query()
        getattr(query, modality.value).CopyFrom(content_pb2.Media(**media))
        return self.running.ids(collection=modality.value, query=query, limit=1)[0]

    def failure(self, modality: Modality, **media: Any) -> Failure:
        """Search by a file that is refused. No path is told, and a metric counts it."""
        with pytest.raises(grpc.RpcError) as caught:
            self.find(modality, **media)
        failure = failure_of(caught.value)
        assert str(self.media.parent) not in failure.message
        assert self.running.metric("twinspire_errors_total", reason=failure.reason) > 0
        return failure

    def dead_letter(self, content: bytes, suffix: str) -> str:
        """Import a folder of a good file and a bad one; return why the bad one was set aside."""
        folder = self.media.parent / f"import-{len(self.imports)}"
        self.imports.append(folder)
        folder.mkdir()
        (folder / "good.png").write_bytes(picture())
        (folder / f"bad{suffix}").write_bytes(content)
        report = import_folder(self.ws, "imported", folder, decoder=self.decoder)
        assert (report.inserted + report.replaced, report.rejected) == (1, 1)
        return dead_letters(self.ws, "imported")[-1].reason
