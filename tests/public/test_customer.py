"""The program that uses the client by its hints runs."""

from __future__ import annotations

import asyncio

import customer
import pytest

import stigmer
import stigmer.app
import stigmer.sync


async def test_the_customer_is_served() -> None:
    async with stigmer.embedded(":memory:") as plane, plane.listen("127.0.0.1:0") as server:
        client = plane.client.with_options(org="acme")
        assert await customer.visit(client) == ["EXECUTION_FAILED"]

        def at_leisure() -> None:
            with stigmer.sync.Client(server.listens_on, org="globex") as other:
                assert customer.visit_at_leisure(other) == []

        await asyncio.to_thread(at_leisure)
        for mistake in customer.mistakes(client)[:1]:
            with pytest.raises(TypeError, match="instuctions"):
                mistake()
