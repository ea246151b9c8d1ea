"""CollectionService: tells what is served, and switches it."""

from encoders.card import read_card
from protos.twinspire.v1 import collections_pb2 as pb
from retrieval.collections import collection_names, require_collection
from retrieval.errors import CorruptArtifact, InvalidInput, ModelNotFound, NewerFormat
from retrieval.item_store import ItemStore
from retrieval.publishing import IndexVersion, list_versions
from retrieval.registry import find_model
from retrieval.workspace import Workspace
from server.calls import Context
from server.live import Live
from server.translation.cards import card_to
from server.translation.items import attributes_to
from server.workers import Workers


class CollectionService:
    """Lists collections and versions, and sets the live one."""

    def __init__(self, ws: Workspace, store: ItemStore, live: Live, workers: Workers) -> None:
        self._ws = ws
        self._store = store
        self._live = live
        self._workers = workers

    async def list_collections(
        self, _request: pb.ListCollectionsRequest, _context: Context
    ) -> pb.ListCollectionsResponse:
        """Answer ListCollections."""
        return await self._workers.reads.run(self._list, self._ready())

    def _list(self, ready: dict[str, str]) -> pb.ListCollectionsResponse:
        names = collection_names(self._ws)
        return pb.ListCollectionsResponse(collections=[self._describe(name, ready) for name in names])

    async def get_collection(
        self, request: pb.GetCollectionRequest, _context: Context
    ) -> pb.GetCollectionResponse:
        """Answer GetCollection."""
        collection = await self._workers.reads.run(self._describe, request.collection, self._ready())
        return pb.GetCollectionResponse(collection=collection)

    def _ready(self) -> dict[str, str]:
        return {name: served.version for name, served in self._live.served.items()}

    def _describe(self, name: str, ready: dict[str, str]) -> pb.Collection:
        counts = self._store.counts(name)
        live = next((version for version in list_versions(self._ws, name) if version.live), None)
        after = live.manifest.built_key if live else 0
        message = pb.Collection(
            name=name,
            item_count=counts.items,
            segment_count=counts.segments,
            unindexed_count=self._store.count_after(name, after),
            live_version=live.version if live else "",
            ready=live is not None and ready.get(name) == live.version,
        )
        if live is not None:
            try:
                card = read_card(find_model(self._ws, live.manifest.model).folder)
                message.encoder.CopyFrom(card_to(card, live=True))
            except (ModelNotFound, CorruptArtifact, NewerFormat):
                pass  # the index is served all the same, to vectors
        return message

    async def list_index_versions(
        self, request: pb.ListIndexVersionsRequest, _context: Context
    ) -> pb.ListIndexVersionsResponse:
        """Answer ListIndexVersions."""
        return await self._workers.reads.run(self._versions, request.collection)

    def _versions(self, collection: str) -> pb.ListIndexVersionsResponse:
        require_collection(self._ws, collection)
        versions = list_versions(self._ws, collection)
        return pb.ListIndexVersionsResponse(versions=map(_version_to, versions))

    async def set_live_version(
        self, request: pb.SetLiveVersionRequest, _context: Context
    ) -> pb.SetLiveVersionResponse:
        """Answer SetLiveVersion."""
        if not request.version:
            raise InvalidInput("version: expected the version to make live, got none", field="version")
        previous = await self._live.set_live(request.collection, request.version, request.expected_version)
        return pb.SetLiveVersionResponse(previous_version=previous, live_version=request.version)


def _version_to(version: IndexVersion) -> pb.IndexVersion:
    manifest = version.manifest
    return pb.IndexVersion(
        version=version.version,
        backend=manifest.parameters.backend,
        state=version.state,
        live=version.live,
        count=manifest.count,
        dims=manifest.dims,
        encoder_fingerprint=manifest.fingerprint,
        model_version=manifest.model,
        recall=max(manifest.parameters.recall, 0.0),
        parameters=attributes_to(manifest.parameters.to_json()),
        created_at=version.created_at,
        size_bytes=sum(record.size for record in manifest.files.values()),
    )
