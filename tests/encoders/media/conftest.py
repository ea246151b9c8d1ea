from collections.abc import Iterator

import pytest

from encoders.media.decoding import Decoder


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    with Decoder(max_children=1) as decoder:
        yield decoder
