"""What the headers of a call may hold, frame by frame: each refused call has its answer and its log line."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from edge_rig import Seen
from edge_sockets import listening
from served_process import served
from server_wire import connect, message

if TYPE_CHECKING:
    from pathlib import Path

    from served_process import Listening

LIST = "/ai.stigmer.agentic.session.v1.SessionQueryController/list"

REFUSED: dict[str, tuple[dict[str, str | None], str, str]] = {
    "no content-type": ({"content-type": None}, "415", "INVALID_ARGUMENT"),
    "a page's content-type": ({"content-type": "text/html"}, "415", "INVALID_ARGUMENT"),
    "grpc-web": ({"content-type": "application/grpc-web+proto"}, "415", "INVALID_ARGUMENT"),
    "messages in JSON": ({"content-type": "application/grpc+json"}, "200", "UNIMPLEMENTED"),
    "no te": ({"te": None}, "400", "INVALID_ARGUMENT"),
    "another te": ({"te": "gzip"}, "400", "INVALID_ARGUMENT"),
    "a GET": ({":method": "GET"}, "405", "INVALID_ARGUMENT"),
    "no path": ({":path": None}, "400", "INVALID_ARGUMENT"),
    "an unknown method": ({":path": "/a.B/c"}, "200", "UNIMPLEMENTED"),
    "no base64": ({"x-bin": "!!"}, "200", "INVALID_ARGUMENT"),
    "no base64 in a list": ({"x-bin": "YQ==,!"}, "200", "INVALID_ARGUMENT"),
    "binary that is not ASCII": ({"x-bin": "\u00e9"}, "200", "INVALID_ARGUMENT"),
    "a line break": ({"x-key": "a\r\nb"}, "200", "INVALID_ARGUMENT"),
    "a name that is not ASCII": ({"x-\u00e9": "a"}, "200", "INVALID_ARGUMENT"),
    "a bad deadline": ({"grpc-timeout": "soon"}, "200", "INVALID_ARGUMENT"),
}
CODES = {"3": "INVALID_ARGUMENT", "12": "UNIMPLEMENTED"}


async def test_a_refused_call_has_its_http_status_its_code_and_its_line(tmp_path: Path) -> None:
    async with served(tmp_path) as server, connect(server) as wire:
        for name, (headers, http, code) in REFUSED.items():
            refused = wire.request(message(b""), path=LIST, headers=headers)
            assert CODES[(await wire.status(refused)).split()[0]] == code, name
            assert wire.headers(refused)[":status"] == http, name
            assert (await server.logged("call"))["code"] == code, name
            assert await wire.status(wire.request(message(b""), path=LIST)) == "0", name
            assert (await server.logged("call"))["code"] == "OK", name


async def test_a_wrong_method_is_told_which_is_right(server: Listening) -> None:
    async with connect(server) as wire:
        refused = wire.request(message(b""), path=LIST, headers={":method": "PUT"})
        await wire.status(refused)
        assert wire.trailers(refused)["allow"] == "POST"


@pytest.mark.parametrize("subtype", ["", "+proto", ";charset=utf-8", "+proto; charset=utf-8", "+PROTO"])
async def test_content_types_that_are_served(server: Listening, subtype: str) -> None:
    async with connect(server) as wire:
        headers = {"content-type": f"application/grpc{subtype}"}
        assert await wire.status(wire.request(message(b""), path=LIST, headers=headers)) == "0"


async def test_binary_metadata_may_come_as_a_list_padded_or_not(tmp_path: Path) -> None:
    """As gRPC over HTTP/2 allows; a list was refused, and so was `YQ` beside `YWI=`."""
    seen = Seen()
    async with listening(tmp_path, seen) as (server, _), connect(server) as wire:
        sent = {"x-one-bin": "YQ", "x-two-bin": "YQ==, YWI", "x-none-bin": "", "x-three-bin": "YWJj,,YWI="}
        assert await wire.status(wire.request(message(b""), path=LIST, headers=sent)) == "0"
    (call,) = seen.calls
    assert {name: call.metadata.getall(name) for name in sent} == {
        "x-one-bin": [b"a"],
        "x-two-bin": [b"a", b"ab"],
        "x-none-bin": [b""],
        "x-three-bin": [b"abc", b"", b"ab"],
    }


async def test_binary_metadata_of_every_length(tmp_path: Path) -> None:
    seen = Seen()
    values = [bytes(range(size)) for size in range(9)]
    async with listening(tmp_path, seen) as (server, _), connect(server) as wire:
        sent = {f"x-{len(value)}-bin": base64.b64encode(value).decode().rstrip("=") for value in values}
        assert await wire.status(wire.request(message(b""), path=LIST, headers=sent)) == "0"
    assert [seen.calls[0].metadata[f"x-{len(value)}-bin"] for value in values] == values


async def test_a_value_that_is_no_metadata_is_thrown_away(tmp_path: Path) -> None:
    """It is valid HTTP, so gRPC says not to fail the call; it was INTERNAL."""
    seen = Seen()
    async with listening(tmp_path, seen) as (server, _), connect(server) as wire:
        sent = {"x-word": "caf\u00e9", "x-tab": "a\tb", "x-kept": "caf~ !", "user-agent": "caf\u00e9"}
        assert await wire.status(wire.request(message(b""), path=LIST, headers=sent)) == "0"
    assert dict(seen.calls[0].metadata) == {"x-kept": "caf~ !"}
