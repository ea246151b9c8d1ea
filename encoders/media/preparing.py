"""From contents as they are stored or asked for to contents that an encoder takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from encoders.media.decoding import Decoder, Source
from encoders.media.specs import DecodeSpec
from retrieval.content import Content, Modality
from retrieval.errors import MediaUnreadable, ModalityNotServed, TwinspireError
from retrieval.media_roots import resolve_uri


def prepare(
    contents: Sequence[Content],
    specs: Mapping[Modality, DecodeSpec],
    decoder: Decoder,
    roots: Mapping[str, Path],
) -> list[Content | TwinspireError]:
    """Decode what is not text, as an encoder asks for it.

    Args:
        contents: of any modality. Media are taken from the bytes, or where there are none from the uri.
        specs: by modality, how to decode.
        decoder: does it.
        roots: by name, the folders that uris may lead into.

    Returns:
        In the order of the contents, each with `decoded` filled, or why it is not: MediaUnreadable,
        MediaTooLarge, UriNotAllowed, ModalityNotServed. Text stays as it is.

    Raises:
        MissingExtra: if what a spec needs is not installed.
    """
    outcomes: list[Content | TwinspireError] = list(contents)
    places: list[int] = []
    requests = []
    for place, content in enumerate(contents):
        if content.modality == Modality.TEXT or content.decoded is not None:
            continue
        try:
            requests.append((_source(content, roots), _spec(content, specs), content.span_s))
            places.append(place)
        except TwinspireError as error:
            outcomes[place] = error
    for place, decoded in zip(places, decoder.decode(requests), strict=True):
        if isinstance(decoded, TwinspireError):
            outcomes[place] = decoded
        else:
            outcomes[place] = replace(contents[place], decoded=decoded)
    return outcomes


def _source(content: Content, roots: Mapping[str, Path]) -> Source:
    if content.media:
        return content.media
    if not content.uri:
        raise MediaUnreadable(f"{content.modality}: expected bytes or a uri, got neither")
    return resolve_uri(roots, content.uri)


def _spec(content: Content, specs: Mapping[Modality, DecodeSpec]) -> DecodeSpec:
    if content.modality not in specs:
        raise ModalityNotServed(f"the encoder takes {', '.join(specs)}, got {content.modality}")
    return specs[content.modality]
