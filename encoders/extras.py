"""Optional dependencies, asked for with a clear error."""

from importlib.util import find_spec

from retrieval.errors import MissingExtra


def require(module: str, extra: str, what: str) -> None:
    """Check that a module is installed, without importing it.

    Args:
        module: its top-level name, such as "torch".
        extra: of ours that installs it.
        what: needs it, such as "model tower@1".

    Raises:
        MissingExtra: if it is not.
    """
    if find_spec(module) is None:
        raise MissingExtra(what, extra)
