"""The one table of what each method needs: the least role, and what a call costs of a key's rate.

A method without a row needs the highest role, and a test fails: a new method gets its row here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"


class Role(IntEnum):
    """What a key may do. Each role may do what the lower ones may."""

    READ = 1  # search, encode, look at items and versions
    WRITE = 2  # store and delete items
    ADMIN = 3  # switch what is live

    @property
    def label(self) -> str:
        """The role's name, as files and commands spell it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Permission:
    """What a method needs."""

    role: Role | None  # None: open to everybody
    cost: Callable[[Any], int] | None = None  # how many requests a message counts for; None: one


OPEN = Permission(None)
READ = Permission(Role.READ)
WRITE = Permission(Role.WRITE)
ADMIN = Permission(Role.ADMIN)

PERMISSIONS: Mapping[str, Permission] = {
    "twinspire.v1.SearchService/Search": READ,
    "twinspire.v1.SearchService/BatchSearch": Permission(Role.READ, lambda batch: len(batch.requests)),
    "twinspire.v1.ItemService/UpsertItems": WRITE,
    "twinspire.v1.ItemService/DeleteItems": WRITE,
    "twinspire.v1.ItemService/GetItems": READ,
    "twinspire.v1.ItemService/ListItems": READ,
    "twinspire.v1.ItemService/CountItems": READ,
    "twinspire.v1.EncoderService/Encode": Permission(Role.READ, lambda request: len(request.inputs)),
    "twinspire.v1.EncoderService/ListEncoders": READ,
    "twinspire.v1.CollectionService/ListCollections": READ,
    "twinspire.v1.CollectionService/GetCollection": READ,
    "twinspire.v1.CollectionService/ListIndexVersions": READ,
    "twinspire.v1.CollectionService/SetLiveVersion": ADMIN,
    "twinspire.v1.ServerService/GetServerInfo": READ,
    # Probes and balancers have no key, and learn nothing from it but whether to send calls here.
    f"{HEALTH}/Check": OPEN,
    f"{HEALTH}/List": OPEN,
    f"{HEALTH}/Watch": OPEN,
    f"{REFLECTION}/ServerReflectionInfo": READ,
}


def permission_of(method: str) -> Permission:
    """Look up what a method needs.

    Args:
        method: "package.Service/Method".

    >>> permission_of("twinspire.v1.ItemService/DeleteItems").role.label
    'write'
    >>> permission_of("twinspire.v1.NewService/Unheard").role.label
    'admin'
    """
    return PERMISSIONS.get(method, ADMIN)
