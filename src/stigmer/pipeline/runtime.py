"""What steps work with: the store, the kinds, ids, and clients for other kinds. `app` wires one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from stigmer.access.authorizer import Policy
from stigmer.access.quotas import Quotas
from stigmer.pipeline.audit.trail import Trail
from stigmer.pipeline.key_rotation import KeyRotation
from stigmer.pipeline.showing import Showing
from stigmer.pipeline.uses import DAY_S, Uses
from stigmer.pipeline.vault import Vault
from stigmer.wire.slices import Slices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.pipeline.ids import IdSource
    from stigmer.pipeline.kind import Kind
    from stigmer.pipeline.sealing_keys import SealingKeys
    from stigmer.pipeline.unit_of_work import UnitOfWork
    from stigmer.store.contract import Store


@dataclass(frozen=True)
class Sizes:
    """How much a caller may ask the server to handle.

    Attributes:
        max_message_parts: submessages, list elements and map entries of a request with a transcript, or of a row.
        max_row_bytes: how long a row may get by reports.
        max_resource_bytes: how long metadata and spec of a resource may be.
    """

    max_message_parts: int = 100_000
    max_row_bytes: int = 10 * 2**20
    max_resource_bytes: int = 3 * 2**20

    @cached_property
    def max_written_bytes(self) -> int:
        """How long a resource may be that create, update or apply answer: 4 MiB by default, as clients take."""
        return self.max_resource_bytes + 2**20


@dataclass(frozen=True)
class About:
    """What a server tells callers of itself.

    Attributes:
        version: of stigmer.
        features: what it has that others may lack, in the order of the alphabet.
    """

    version: str = ""
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Runtime:
    """What steps work with, wired by `app`.

    Attributes:
        store: where rows are read that need no transaction, and followed.
        unit_of_work: runs pipelines in transactions of that store.
        kinds: every kind by name.
        ids: gives ids.
        downstream: clients for other kinds, by name. Where there is none, steps use the store directly.
        sealing: seals secrets, and opens them again.
        sizes: how much a caller may ask for.
        policy: what the host's authorizer says.
        quotas: counts what each principal has open and writes.
        about: what callers are told of this server.
        slices: runs what takes long on the event loop.
        context_ttl_s: how long a resource of a kind that expires lives after its last use.
    """

    store: Store
    unit_of_work: UnitOfWork
    kinds: Mapping[str, Kind[Any]]
    ids: IdSource
    downstream: Mapping[str, Client]
    sealing: SealingKeys
    sizes: Sizes = Sizes()
    policy: Policy = field(default_factory=Policy)
    quotas: Quotas = field(default_factory=Quotas)
    about: About = About()
    slices: Slices = field(default_factory=Slices)
    context_ttl_s: float = DAY_S

    @cached_property
    def trail(self) -> Trail:
        """Makes the audit's records of calls."""
        return Trail(self.sealing)

    @cached_property
    def vault(self) -> Vault:
        """Seals the secret values of resources."""
        return Vault(self.sealing, self.trail)

    @cached_property
    def uses(self) -> Uses:
        """Notes when what expires is used."""
        return Uses(self.store, self.context_ttl_s)

    @cached_property
    def showing(self) -> Showing:
        """Shows them again, or the mark."""
        return Showing(self.vault, self.trail)

    @cached_property
    def rotation(self) -> KeyRotation:
        """Changes the keys that secrets are sealed under."""
        return KeyRotation(self.sealing)


class Client(Protocol):
    """What steps ask of another kind's service."""

    @property
    def in_process(self) -> bool:
        """Whether its calls join the caller's transaction."""
        ...

    async def get(self, id_: str) -> Any:  # noqa: ANN401 - each client is for a kind of its own
        """The resource, or None where there is none of that id."""
        ...

    async def create(self, resource: Any, /) -> Any:  # noqa: ANN401 - as above
        """Make a resource; gives it as it was made."""
        ...

    async def delete(self, id_: str) -> None:
        """Delete a resource; it may be gone already."""
        ...
