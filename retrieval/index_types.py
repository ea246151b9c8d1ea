"""What kind of index to build, and how hard it must look: chosen by size, overridden by name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from retrieval.errors import InvalidInput

BACKENDS = ("faiss", "exact", "redis")
KINDS = ("flat", "hnsw", "ivf")
STORAGES = ("f32", "f16", "sq8", "bin")

RECALL_AT = 10  # the depth that recall targets speak of

# Below this many vectors a scan answers within a millisecond, so a graph is not worth its build.
FLAT_BELOW = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexParameters:
    """How an index is built and searched. Stored in its manifest."""

    backend: str = "faiss"
    kind: str = "hnsw"
    storage: str = "f16"
    m: int = 32  # HNSW: links per vector and level
    ef_construction: int = 128  # HNSW: how hard the build looks for neighbours
    nlist: int = 0  # IVF: number of lists
    effort: int = 0  # HNSW: ef; IVF: lists probed; 0 = not measured yet
    recall_target: float = 0.95
    recall: float = -1.0  # recall@10 of exact search, measured at build; -1 = not measured
    recall_queries: int = 0  # queries that it was measured on
    partitions: int = 1  # Redis: parts of the collection, each on one node of a cluster

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInput: naming the parameter, what was expected and what came.
        """
        _check_choice("backend", self.backend, BACKENDS)
        _check_choice("kind", self.kind, KINDS)
        _check_choice("storage", self.storage, STORAGES)
        _check_range("m", self.m, 2, 256)
        _check_range("ef_construction", self.ef_construction, 4, 4096)
        _check_range("nlist", self.nlist, 0, 1 << 20)
        if (self.storage == "bin" and self.backend != "redis") or (
            self.storage == "f16" and self.backend == "redis"
        ):
            raise InvalidInput(
                f"index parameter storage: {self.backend} does not have {self.storage!r}", field="storage"
            )
        _check_range("effort", self.effort, 0, 1 << 20)
        _check_range("partitions", self.partitions, 1, 1024)
        _check_range("recall_target", self.recall_target, 0.0, 1.0)

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "IndexParameters":
        """Read parameters that `to_json` wrote.

        Raises:
            InvalidInput: if a parameter is unknown, or its value is not allowed.
        """
        return replace_parameters(cls(), body)


# Redis's vector sets are always graphs; the figures are its own defaults.
REDIS_DEFAULTS: Mapping[str, Any] = {"kind": "hnsw", "storage": "f32", "m": 16, "ef_construction": 200}


def choose_parameters(
    count: int, dims: int, recall_target: float = 0.95, overrides: Mapping[str, Any] | None = None
) -> IndexParameters:
    """Choose an index for this many vectors: a scan while that is fast, a graph beyond.

    Half-precision storage costs no recall that can be measured, searches faster than single precision
    (less memory to read) and takes half of it. See docs/decisions/020-index-types.md for the figures.

    Args:
        count: vectors to index.
        dims: their width.
        recall_target: recall@10 of exact search that `effort` will be tuned to.
        overrides: parameters by name that are not to be chosen.

    Raises:
        InvalidInput: if an override is unknown or has a value that is not allowed.

    >>> choose_parameters(5_000, 256).kind, choose_parameters(200_000, 256).kind
    ('flat', 'hnsw')
    >>> choose_parameters(200_000, 256, overrides={"kind": "ivf"}).nlist
    1788
    """
    if overrides and overrides.get("backend") == "redis":
        return replace_parameters(
            IndexParameters(recall_target=recall_target), {**REDIS_DEFAULTS, **overrides}
        )
    chosen = IndexParameters(
        kind="flat" if count < FLAT_BELOW else "hnsw",
        storage="f32" if count < FLAT_BELOW else "f16",
        recall_target=recall_target,
    )
    chosen = replace_parameters(chosen, overrides or {})
    if chosen.kind == "ivf" and not chosen.nlist:
        chosen = replace(chosen, nlist=max(1, min(int(4 * count**0.5), count // 39)))
    if chosen.backend == "exact":
        storage = "f32" if chosen.storage == "sq8" else chosen.storage
        chosen = replace(chosen, kind="flat", storage=storage)
    return chosen


def replace_parameters(parameters: IndexParameters, overrides: Mapping[str, Any]) -> IndexParameters:
    """Replace parameters by name, casting a flag's text to the parameter's type.

    Raises:
        InvalidInput: if a name is unknown or a value is not allowed.
    """
    known = {field.name: field.type for field in fields(IndexParameters)}
    values: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in known:
            raise InvalidInput(
                f"index parameter {name!r} is unknown: expected one of {', '.join(sorted(known))}", field=name
            )
        cast = known[name]
        assert isinstance(cast, type)
        try:
            values[name] = cast(value)
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"index parameter {name}: expected {cast.__name__}, got {value!r}", field=name
            ) from error
    return replace(parameters, **values)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidInput(
            f"index parameter {name}: expected {' or '.join(allowed)}, got {value!r}", field=name
        )


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidInput(f"index parameter {name}: expected {low} to {high}, got {value}", field=name)
