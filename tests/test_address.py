"""Addresses as settings, clients and the server write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stigmer import rpc
from stigmer.address import MAX_PATH_BYTES, TcpAddress, UnixAddress, address_of, sockaddr_text, tcp_address_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host",
        ":7234",
        "host:",
        "host:-1",
        "::1:7234",
        "host:٣",
        "[]:0",
        "[host]:1",
        "[[::1]]:1",
        "[host:1",
        "[::1:1",
        "a b:1",
        "a\nb:1",
        "\x1b[31m:1",
        "a\0:1",
    ],
)
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match="not HOST:PORT"):
        tcp_address_of(address)


@pytest.mark.parametrize("address", ["host:65536", "[::1]:99999", "h:" + "0" * 5000])
def test_a_port_is_in_its_range(address: str) -> None:
    with pytest.raises(ValueError, match="a port is a number from 0 to 65535; 0 takes a free one"):
        tcp_address_of(address)


def test_brackets_hold_an_ipv6_host() -> None:
    assert tcp_address_of("[::1]:7234") == TcpAddress("::1", 7234)


@pytest.mark.parametrize("text", ["127.0.0.1:1", "[::1]:0", "host:65535", "unix:/run/s.sock"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert str(address_of(text)) == text


@pytest.mark.parametrize(
    ("text", "dialled"),
    [
        ("0.0.0.0:9", "127.0.0.1:9"),
        ("[::]:9", "[::1]:9"),
        ("10.0.0.1:9", "10.0.0.1:9"),
        ("unix:/run/s.sock", "unix:/run/s.sock"),
    ],
)
def test_a_wildcard_is_dialled_on_loopback(text: str, dialled: str) -> None:
    assert str(address_of(text).dialled) == dialled


def test_a_socket_s_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert address_of("unix:s.sock") == UnixAddress(f"{tmp_path}/s.sock")
    assert address_of("unix:~/s.sock") == UnixAddress("/home/me/s.sock")
    assert address_of("unix:///run/s.sock") == UnixAddress("/run/s.sock")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("unix:", "no path of a Unix socket"),
        ("unix:/run/", "no path of a Unix socket"),
        ("unix:\0name", "no path of a Unix socket"),
        ("unix:/a\nb", "no path of a Unix socket"),
        ("unix://host/s.sock", "takes an absolute path"),
        ("unix-abstract:name", "have no permissions"),
        ("nowhere", "or unix:PATH"),
    ],
)
def test_what_is_no_address_says_how_to_write_one(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        address_of(text)


def test_a_path_that_the_kernel_would_cut_off_is_refused() -> None:
    longest = "/" + "x" * (MAX_PATH_BYTES - 1)
    assert address_of(f"unix:{longest}") == UnixAddress(longest)
    with pytest.raises(ValueError, match="107 bytes at most"):
        address_of(f"unix:{longest}x")
    with pytest.raises(ValueError, match="107 bytes at most"):
        address_of("unix:/" + "ü" * 54)


def test_a_socket_s_own_words_become_an_address() -> None:
    assert sockaddr_text(("127.0.0.1", 1)) == "127.0.0.1:1"
    assert sockaddr_text(("::1", 1, 0, 0)) == "[::1]:1"
    assert sockaddr_text("/run/s.sock") == "unix:/run/s.sock"
    assert sockaddr_text("") == "unix"
    assert sockaddr_text(None) == ""


def test_a_channel_to_a_unix_socket_has_no_tls() -> None:
    with pytest.raises(ValueError, match="a Unix socket has no TLS"):
        rpc.channel("unix:/run/s.sock", tls=True)
