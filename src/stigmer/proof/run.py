"""One whole run: a plane in this process, then servers that are killed, started with a wrong key, and damaged."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stigmer.access import token_file
from stigmer.access.token_lines import PREFIX, Token, digest_of, principal_of
from stigmer.app import embedded
from stigmer.app.keys import KEYRING
from stigmer.proof import channels, self_check
from stigmer.proof.canaries import Canaries
from stigmer.proof.child import child
from stigmer.proof.client import LOST, Caller, Client
from stigmer.proof.faults import Faults
from stigmer.proof.requests import ORGANIZATION, Requests, is_resource
from stigmer.proof.search import Search
from stigmer.proof.walk import Callers, Walk
from stigmer.secrets.keyring import Keyring
from stigmer.settings import Settings
from stigmer.store.sqlite.files import FILE_NAME
from stigmer.telemetry.logs import configure
from stigmer.wire.descriptors import methods

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stigmer.access.principal import Role
    from stigmer.proof.child import Child
    from stigmer.proof.search import Finding

_ROLES: dict[str, tuple[Role, str]] = {
    "root": ("admin", "*"),
    "runner": ("runner", ORGANIZATION),
    "editor": ("editor", ORGANIZATION),
    "reader": ("reader", ORGANIZATION),
    "stranger": ("admin", "umbrella"),
}
_REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "ABORTED", "PERMISSION_DENIED", "UNAUTHENTICATED", LOST}
"""How some calls must end, or the faults are none."""
_FAILURES = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
"""How none may end, whatever was sent: then something of what was to be searched did not come about."""
_WRITERS = 8
"""How many callers write when the server is killed."""
_DAMAGE = "UPDATE records SET value = CAST(substr(value, 1, length(value) - 1) || x'00' AS BLOB) WHERE name = 'sealed'"


@dataclass
class Report:
    """What a run has found.

    Attributes:
        findings: secret values where none may be.
        wrong: why the run proves nothing, or less than it should.
        left_out: what was not looked at, and why.
        calls: how many ended with each code.
        bytes: how many of each channel were searched.
        values: how many different values were planted.
    """

    findings: list[Finding] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    values: int = 0


class Run:
    """A run in a directory that is its own.

    Args:
        directory: an empty one.
        quick: change the requests in few places, and kill once.
    """

    def __init__(self, directory: Path, *, quick: bool) -> None:
        self._directory, self._quick = directory, quick
        self._canaries = Canaries()
        self._search = Search(self._canaries)
        self._tokens = directory / "tokens"
        self._log = directory / "log"
        self.report = Report()

    def __repr__(self) -> str:
        return f"<Run in {self._directory}>"

    async def all(self) -> Report:
        """Do all of it."""
        report = self.report
        callers = await asyncio.to_thread(self._callers)
        with self._log.open("w") as stream:
            configure("debug", "console", stream)
            spans = channels.recorded_spans()
            if spans is None:
                report.left_out.append("spans: opentelemetry-sdk is not installed")
            await self._in_process(callers, spans)
            for number in range(1 if self._quick else 5):
                await self._in_children(callers, self._directory / f"child-{number}")
            report.wrong += self_check.missed_forms()
            report.wrong += await asyncio.to_thread(
                self_check.missed_channels, self._directory / "planted", self._log, spans
            )
        report.findings = sorted(self._search.findings)
        report.bytes, report.values = self._search.bytes, len(list(self._canaries))
        return report

    def _callers(self) -> Callers:
        """Callers with tokens, which are canaries too, and two without."""
        made: dict[str, Caller] = {}
        for name, (role, organization) in _ROLES.items():
            secret = self._token(f"the token of {name}")
            token_file.add(self._tokens, Token(principal_of(name, role, (organization,)), None, digest_of(secret)))
            made[name] = _bearing(name, secret, sees=role in {"admin", "runner"})
        forged = _bearing("forger", self._token("a forged token"))
        others = (made["editor"], made["reader"], made["stranger"])
        return Callers(made["root"], made["runner"], others, (Caller("nobody"), forged))

    def _token(self, name: str) -> str:
        return self._canaries.known(name, (PREFIX + secrets.token_urlsafe(32)).encode()).value.decode()

    async def _in_process(self, callers: Callers, spans: Callable[[Search], None] | None) -> None:
        """Every RPC and every fault, on a plane whose log records, spans and metrics are at hand."""
        data = self._directory / "data"
        checkpoints = self._directory / "checkpoints"
        settings = await asyncio.to_thread(
            Settings, data_dir=data, tokens_file=self._tokens, audit_checkpoint_file=checkpoints
        )
        with channels.Records(self._search):
            async with embedded(settings) as plane:
                await asyncio.to_thread(self._know_keys, data)
                async with plane.listen("127.0.0.1:0") as server, self._client(str(server.address)) as client:
                    walk = await self._drive(client, callers)
                    await asyncio.to_thread(self._know_keys, data)
                    client.look_again()
                    await asyncio.to_thread(channels.look_at_metrics, self._search, plane.metrics)
                    await asyncio.to_thread(channels.look_at_directory, self._search, data)
                    await asyncio.to_thread(channels.look_at_backup, self._search, data, self._directory / "backup.db")
                    await walk.end()
                    self._note(client, walk)
                await asyncio.to_thread(channels.look_at_directory, self._search, data)
        if spans is not None:
            spans(self._search)
        await asyncio.to_thread(channels.look_at_log, self._search, self._log)
        await asyncio.to_thread(channels.look_at_directory, self._search, data)
        self._search.look("checkpoints of the audit", await asyncio.to_thread(checkpoints.read_bytes))

    async def _drive(self, client: Client, callers: Callers) -> Walk:
        requests = Requests(self._canaries)
        walk = Walk(client, requests, callers)
        await walk.make()
        await walk.all()
        await Faults(client, requests, callers, self._canaries, every=97 if self._quick else 1).all()
        self.report.wrong += await walk.life()
        return walk

    def _note(self, client: Client, walk: Walk) -> None:
        """What was called, and what of it was in vain."""
        self._count(client)
        codes = {code for _, code in client.codes}
        self.report.wrong += [f"no call ended with {code}" for code in sorted(_REFUSALS - codes)]
        self.report.wrong += [f"a call ended with {code}" for code in sorted(_FAILURES & codes)]
        missed = [path for path in methods() if path not in walk.reached]
        self.report.wrong += [f"no call succeeded: {path}" for path in missed]
        never = {one.name for one in self._canaries if not one.is_apart} - client.shown - set(_never_kept())
        self.report.wrong += [f"never read back, so that nothing is shown of it: {name}" for name in sorted(never)]

    def _count(self, client: Client) -> None:
        for (_, code), number in client.codes.items():
            self.report.calls[code] += number

    # Servers in processes of their own.

    async def _in_children(self, callers: Callers, data: Path) -> None:
        async with child(data, self._tokens) as server:
            await asyncio.to_thread(self._know_keys, data)
            known = await self._until_killed(server, callers)
            await server.ended()
            self._search.look("log of a server that is killed", server.log)
        await asyncio.to_thread(channels.look_at_directory, self._search, data)
        async with child(data, self._tokens) as server:
            await self._expect(server, callers, known, {"OK"}, "after the kill")
            backup = data.with_suffix(".db")
            await asyncio.to_thread(channels.look_at_backup, self._search, data, backup)
            await server.stop()
            self._search.look("log of a server after a kill", server.log)
        await self._with_wrong_key(data)
        await asyncio.to_thread(_damage, data)
        async with child(data, self._tokens) as server:
            await self._expect(server, callers, known, {"DATA_LOSS"}, "after the damage")
            await server.stop()
            self._search.look("log of a server with damaged secrets", server.log)

    async def _until_killed(self, server: Child, callers: Callers) -> Requests:
        """Write until the server is killed, which is soon; gives requests about what it has acknowledged."""
        async with self._client(server.address) as client:
            requests = Requests(self._canaries)
            walk = Walk(client, requests, callers)
            await walk.make()

            async def write() -> None:
                while LOST not in {code for _, code in client.codes}:
                    await walk.make()

            writers = [asyncio.create_task(write()) for _ in range(_WRITERS)]
            await asyncio.wait(writers, timeout=0.3)
            server.kill()
            await asyncio.gather(*writers)
            self._count(client)
        return requests

    async def _expect(self, server: Child, callers: Callers, known: Requests, codes: set[str], when: str) -> None:
        """Get what has secrets: the calls have to end so."""
        async with self._client(server.address) as client:
            for method in methods().values():
                if method.name == "get" and method.kind is not None and method.kind.name in _SEALED:
                    await client.call(method, known.valid(method), callers.root)
            ended = {code for _, code in client.codes}
            if ended != codes:
                self.report.wrong.append(f"{when} secrets are read with {sorted(ended)}, not {sorted(codes)}")

    async def _with_wrong_key(self, data: Path) -> None:
        aside = data.with_suffix(".keyring")
        await asyncio.to_thread(_with_another_key, data / KEYRING, aside)
        async with child(data, self._tokens) as server:
            if server.address:
                self.report.wrong.append("a server starts with the wrong key")
            self._search.look("what a server says of a wrong key", server.log)
        await asyncio.to_thread(aside.replace, data / KEYRING)

    def _client(self, address: str) -> Client:
        return Client(address, self._search, self._canaries)

    def _know_keys(self, data: Path) -> None:
        """The keys of a database are secrets as well."""
        keyring = Keyring(data / KEYRING)
        keyring.open(make=False)
        for key in (one for one in keyring.keys if one.secret):
            self._canaries.known(f"the key {key.id}", key.secret)


_SEALED = frozenset({"Environment", "Agent"})


def _bearing(name: str, token: str, *, sees: bool = False) -> Caller:
    return Caller(name, (("authorization", f"Bearer {token}"),), sees)


def _never_kept() -> list[str]:
    """The places in requests that the server leaves out: a resource's status is its own."""
    names = {one.request.rpartition(".")[2] for one in methods().values() if is_resource(one.request)}
    return [f"{name} status.callback_token" for name in names]


def _with_another_key(keyring: Path, aside: Path) -> None:
    """Put the keyring aside, and another one in its place."""
    keyring.rename(aside)
    Keyring(keyring).open(make=True)


def _damage(data: Path) -> None:
    """Change the last byte of what is sealed."""
    with closing(sqlite3.connect(data / FILE_NAME)) as database, database:
        database.execute(_DAMAGE)
