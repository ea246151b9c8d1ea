"""From the client's values to protobuf messages."""

import mimetypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct

from encoders.media.limits import DEFAULT_LIMITS
from encoders.media.source import open_file
from protos.twinspire.v1 import content_pb2, filters_pb2, items_pb2, search_pb2
from retrieval.errors import InvalidFilter, InvalidInput, InvalidItem, MediaUnreadable, UnreadableSource
from retrieval.filters import Condition, Exists, Filter, HasId, Match, Range, Scalar
from retrieval.search import LinearFusion, RrfFusion
from twinspire.queries import Example, MediaFile, SearchQuery, Vector
from twinspire.results import Item

LARGEST_EXACT_INTEGER = 2**53  # protobuf's Struct holds numbers as doubles

_MODALITIES = {
    "text": items_pb2.MODALITY_TEXT,
    "image": items_pb2.MODALITY_IMAGE,
    "audio": items_pb2.MODALITY_AUDIO,
    "video": items_pb2.MODALITY_VIDEO,
}


def search_message(collection: str, query: SearchQuery) -> search_pb2.SearchRequest:
    """Build a search request.

    Raises:
        InvalidInput: if the filter expression or the vector cannot be read.
    """
    request = search_pb2.SearchRequest(
        collection=collection,
        query=_query_message(query),
        filter=filter_message(query.filter),
        limit=query.limit,
        score_threshold=query.score_threshold,
        with_vector=query.with_vector,
        params=search_pb2.SearchParams(
            effort=query.effort,
            exact=query.exact,
            oversampling=query.oversampling,
            allow_partial=query.allow_partial,
        ),
        expected_encoder_fingerprint=query.expected_fingerprint,
        index_version=query.index_version,
        explain=query.explain,
        moments=query.moments if query.moments != 1 else None,
        aspects=query.aspects,
    )
    if query.attributes is not None:
        request.attribute_mask.CopyFrom(FieldMask(paths=query.attributes))
    if query.diversity is not None:
        request.diversity.CopyFrom(
            search_pb2.Diversity(weight=query.diversity.weight, candidates=query.diversity.candidates)
        )
    return request


def _query_message(query: SearchQuery) -> search_pb2.Query:
    if query.image is not None:
        return search_pb2.Query(image=media_message(query.image))
    if query.audio is not None:
        return search_pb2.Query(audio=media_message(query.audio))
    if query.video is not None:
        return search_pb2.Query(video=media_message(query.video))
    if query.vector is not None:
        return search_pb2.Query(vector=vector_message(query.vector))
    if query.item_id is not None:
        return search_pb2.Query(item_id=query.item_id)
    if query.positives:
        return search_pb2.Query(
            examples=search_pb2.ExampleQuery(
                positives=[_example_message(example) for example in query.positives],
                negatives=[_example_message(example) for example in query.negatives],
            )
        )
    if query.hybrid is False:
        return search_pb2.Query(text=query.text or "")
    hybrid = search_pb2.HybridQuery(text=query.text or "")
    if isinstance(query.hybrid, RrfFusion):
        fusion = query.hybrid
        hybrid.rrf.CopyFrom(
            search_pb2.RrfFusion(
                k=fusion.k, dense_weight=fusion.dense_weight, lexical_weight=fusion.lexical_weight
            )
        )
    elif isinstance(query.hybrid, LinearFusion):
        hybrid.linear.CopyFrom(search_pb2.LinearFusion(alpha=query.hybrid.alpha))
    return search_pb2.Query(hybrid=hybrid)


def _example_message(example: str | Example) -> search_pb2.Example:
    if isinstance(example, str):
        return search_pb2.Example(item_id=example)
    if example.item_id is not None:
        return search_pb2.Example(item_id=example.item_id, weight=example.weight)
    if example.vector is not None:
        return search_pb2.Example(vector=vector_message(example.vector), weight=example.weight)
    if example.media is not None:
        return search_pb2.Example(media=media_message(example.media), weight=example.weight)
    return search_pb2.Example(text=example.text or "", weight=example.weight)


def media_message(media: MediaFile) -> content_pb2.Media:
    """Take a file's bytes, or name one that lies at the server.

    Raises:
        UnreadableSource: if it is no file, or cannot be read, or is too large to be sent.
    """
    if isinstance(media, str):
        return content_pb2.Media(uri=media)
    if isinstance(media, bytes):
        return content_pb2.Media(content=media)
    most = DEFAULT_LIMITS.max_image_bytes  # of any media that are not at the server
    try:
        with open_file(media, media.name) as file:
            content = file.read(most + 1)
    except MediaUnreadable as error:
        raise UnreadableSource(str(error)) from error
    except OSError as error:
        raise UnreadableSource(f"{media.name}: {error.strerror or 'it cannot be read'}") from error
    if len(content) > most:
        raise UnreadableSource(
            f"{media.name}: expected at most {most} bytes, got more; a uri has no such limit"
        )
    return content_pb2.Media(content=content, mime_type=mimetypes.guess_type(media.name)[0] or "")


def vector_message(vector: Vector) -> content_pb2.DenseVector:
    """Pack a vector as little-endian float32.

    Raises:
        InvalidInput: if it is not one row of numbers.
    """
    try:
        row = np.asarray(vector, dtype="<f4")
    except (TypeError, ValueError) as error:
        raise InvalidInput("vector: expected a row of numbers", field="vector") from error
    if row.ndim != 1:
        raise InvalidInput(f"vector: expected one row of numbers, got shape {row.shape}", field="vector")
    return content_pb2.DenseVector(f32le=row.tobytes())


def filter_message(filter: Filter | str | None) -> filters_pb2.Filter | None:
    """Build a filter from the tree, or from an expression such as `year >= 1990 and genre in ('a', 'b')`.

    Raises:
        InvalidFilter: if the expression cannot be read; the message says where.
    """
    if filter is None:
        return None
    if isinstance(filter, str):
        from retrieval.filter_text import parse_filter

        return _filter_message(parse_filter(filter))
    return _filter_message(filter)


def _filter_message(filter: Filter) -> filters_pb2.Filter:
    return filters_pb2.Filter(
        must=[_condition_message(condition) for condition in filter.must],
        should=[_condition_message(condition) for condition in filter.should],
        must_not=[_condition_message(condition) for condition in filter.must_not],
        min_should=filter.min_should,
    )


def _condition_message(condition: Condition) -> filters_pb2.Condition:
    match condition:
        case Match(attribute, any_of):
            values = [_value_message(value) for value in any_of]
            return filters_pb2.Condition(match=filters_pb2.Match(attribute=attribute, any_of=values))
        case Range():
            bounds = {
                name: _value_message(bound)
                for name in ("gt", "gte", "lt", "lte")
                if (bound := getattr(condition, name)) is not None
            }
            return filters_pb2.Condition(range=filters_pb2.Range(attribute=condition.attribute, **bounds))
        case Exists(attribute):
            return filters_pb2.Condition(exists=filters_pb2.Exists(attribute=attribute))
        case HasId(ids):
            return filters_pb2.Condition(has_id=filters_pb2.HasId(ids=ids))
        case Filter():
            return filters_pb2.Condition(filter=_filter_message(condition))


def _value_message(value: Scalar) -> filters_pb2.Value:
    if isinstance(value, bool):
        return filters_pb2.Value(bool_value=value)
    if isinstance(value, str):
        return filters_pb2.Value(string_value=value)
    if isinstance(value, int):
        try:
            return filters_pb2.Value(int_value=value)
        except ValueError as error:
            raise InvalidFilter(f"expected an integer of 64 bits, got {value}") from error
    return filters_pb2.Value(number_value=value)


def item_message(item: Item | Mapping[str, Any]) -> items_pb2.Item:
    """Build an item from a value, or from a mapping with its fields.

    Raises:
        InvalidItem: if a field is unknown, or a value is of a type that no item holds.
    """
    if not isinstance(item, Item):
        try:
            item = Item(**item)
        except TypeError as error:
            raise InvalidItem(
                "expected an Item, or a mapping with id and any of text, attributes, uri and modality",
                field="items",
            ) from error
    if item.modality not in _MODALITIES:
        raise InvalidItem(
            f"modality: expected one of {', '.join(_MODALITIES)}, got {item.modality!r}",
            field="items.modality",
        )
    try:
        return items_pb2.Item(
            id=item.id,
            modality=_MODALITIES[item.modality],
            text=item.text,
            uri=item.uri,
            attributes=attributes_message(item.attributes) if item.attributes else None,
        )
    except (TypeError, ValueError) as error:
        raise InvalidItem(f"item {item.id!r}: {error}", field="items") from error


def attributes_message(attributes: Mapping[str, Any]) -> Struct:
    """Pack attributes.

    Raises:
        InvalidItem: if an integer is too large to travel exactly.
        ValueError: if a value is not JSON.
    """
    for name, value in attributes.items():
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, int) and abs(number) > LARGEST_EXACT_INTEGER:
                raise InvalidItem(
                    f"attribute {name!r}: {number} is beyond 2^53 and would be rounded; send it as a string",
                    field="items.attributes",
                )
    message = Struct()
    message.update(
        {name: list(value) if isinstance(value, tuple) else value for name, value in attributes.items()}
    )
    return message
