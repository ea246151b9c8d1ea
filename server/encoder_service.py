"""EncoderService: content to vectors."""

import time
from collections import OrderedDict
from collections.abc import Sequence

from encoders.card import read_card
from encoders.encoder import Encoder
from encoders.memory import encode_within_memory
from protos.twinspire.v1 import encoders_pb2 as pb
from retrieval.collections import require_collection
from retrieval.content import Content, Modality
from retrieval.deadlines import work_until
from retrieval.errors import (
    CorruptArtifact,
    EmptyQuery,
    InvalidInput,
    ModelNotLoaded,
    NewerFormat,
    TwinspireError,
)
from retrieval.registry import list_models
from retrieval.workspace import Workspace
from server.calls import Context
from server.encoding import check_content, name_field
from server.live import Live
from server.loading import Encoders
from server.pipeline import MAX_DECODE_S
from server.prepared import PreparedEncoder
from server.translation.cards import card_to
from server.translation.queries import media_content, text_content
from server.translation.vectors import vector_to
from server.workers import Workers

MAX_INPUTS = 256
# Encoders that requests named, kept loaded beside the live ones.
MAX_NAMED_ENCODERS = 2


class EncoderService:
    """Encodes content, and lists the encoders."""

    def __init__(self, ws: Workspace, live: Live, encoders: Encoders, workers: Workers) -> None:
        self._ws = ws
        self._live = live
        self._encoders = encoders
        self._workers = workers
        self._named: OrderedDict[str, Encoder] = OrderedDict()

    async def encode(self, request: pb.EncodeRequest, _context: Context) -> pb.EncodeResponse:
        """Answer Encode."""
        if not 1 <= len(request.inputs) <= MAX_INPUTS:
            raise InvalidInput(
                f"inputs: expected 1 to {MAX_INPUTS}, got {len(request.inputs)}", field="inputs"
            )
        if request.side not in (pb.SIDE_UNSPECIFIED, pb.SIDE_QUERY, pb.SIDE_ITEM):
            raise InvalidInput(f"side: expected 0 to 2, got {request.side}", field="side")
        contents = [_content(single, f"inputs[{at}]") for at, single in enumerate(request.inputs)]
        encoder = await self._encoder(request.collection, request.encoder)
        for at, content in enumerate(contents):
            check_content(encoder, content, f"inputs[{at}]")
        return await self._workers.encodings.run(_encode, encoder, contents, request.side)

    async def _encoder(self, collection: str, name: str) -> Encoder:
        if bool(collection) == bool(name):
            raise InvalidInput("expected a collection or an encoder, one of both", field="encoder")
        if name:
            encoder = self._named.get(name) if "@" in name else None
            if encoder is None:
                encoder = await self._workers.loads.run(self._encoders.by_name, name)
            self._named[name] = encoder
            self._named.move_to_end(name)
            while len(self._named) > MAX_NAMED_ENCODERS:
                self._named.popitem(last=False)
            return encoder
        live = self._live.encoder(collection)
        if live is None:
            await self._workers.reads.run(require_collection, self._ws, collection)
            raise ModelNotLoaded(f"collection {collection!r} has no live encoder: index it first")
        return live

    async def list_encoders(
        self, _request: pb.ListEncodersRequest, _context: Context
    ) -> pb.ListEncodersResponse:
        """Answer ListEncoders."""
        live = {served.answerer.origin.encoder_fingerprint for served in self._live.served.values()}
        return await self._workers.reads.run(self._list, live)

    def _list(self, live: set[str]) -> pb.ListEncodersResponse:
        response = pb.ListEncodersResponse()
        for model in list_models(self._ws):
            try:
                card = read_card(model.folder)
            except (CorruptArtifact, NewerFormat):
                continue  # it could not be used: `twinspire doctor` tells why
            response.encoders.append(card_to(card, live=card.fingerprint in live))
        return response


def _content(message: pb.EncodeInput, field: str) -> Content:
    kind = message.WhichOneof("kind")
    if kind == "text":
        return text_content(message.text, f"{field}.text")
    if kind is None:
        raise EmptyQuery(f"{field}: expected a text or media, got neither", field=field)
    return media_content(getattr(message, kind), Modality(kind), f"{field}.{kind}")


def _decoded(encoder: PreparedEncoder, contents: Sequence[Content]) -> list[Content]:
    """Decode files, no longer than those of a search may take. Raises for the first that cannot be."""
    with work_until(time.perf_counter() + MAX_DECODE_S):
        outcomes = encoder.prepare(contents)
    decoded = []
    for at, outcome in enumerate(outcomes):
        if isinstance(outcome, TwinspireError):
            raise name_field(outcome, f"inputs[{at}]")
        decoded.append(outcome)
    return decoded


def _encode(encoder: Encoder, contents: Sequence[Content], side: int) -> pb.EncodeResponse:
    if isinstance(encoder, PreparedEncoder):
        contents = _decoded(encoder, contents)
    encode = encoder.encode_items if side == pb.SIDE_ITEM else encoder.encode_queries
    cut = encoder.truncates(contents)
    return pb.EncodeResponse(
        vectors=map(vector_to, encode_within_memory(encode, contents)),
        encoder_fingerprint=encoder.card.fingerprint,
        truncated=[at for at, truncated in enumerate(cut) if truncated],
    )
