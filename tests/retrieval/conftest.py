import pytest


@pytest.fixture(params=["flat", "hnsw"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of a FAISS index: what holds for a scan holds for a graph."""
    return str(request.param)
