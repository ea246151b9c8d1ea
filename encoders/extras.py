"""Optional dependencies, asked for with a clear error."""

from importlib.util import find_spec

from retrieval.errors import MissingExtra


def require_torch(what: str) -> None:
    """Check that torch is installed, without importing it.

    Raises:
        MissingExtra: if it is not.
    """
    if find_spec("torch") is None:
        raise MissingExtra(what, "train")
