"""`Client.from_env`: variables, and profiles in the user's directory of configurations."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import certificates
import pytest

import stigmer
from stigmer.client.profiles import Profile, config_file, profile_of

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = """
profile = "home"

[profiles.home]
server = "127.0.0.1:7000"
org = "acme"

[profiles.work]
server = "stigmer.example.com:7234"
token_file = "token"
ca = "/etc/ca.pem"
client_cert = "client.pem"
client_key = "client.key"

[profiles.public]
server = "stigmer.example.org:443"
ca = "system"
token = "secret"
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Writes the file; the environment in which it is found."""

    def write(text: str) -> dict[str, str]:
        environment = {"XDG_CONFIG_HOME": str(tmp_path)}
        file = config_file(environment)
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return environment

    return write


def test_without_anything_it_is_the_server_on_this_machine(tmp_path: Path) -> None:
    found = profile_of(None, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert found == Profile("127.0.0.1:7234", "", None, None, tls=False)


def test_a_profile_says_what_the_variables_do_not(written: Callable[[str], dict[str, str]], tmp_path: Path) -> None:
    environment = written(CONFIG)
    assert profile_of(None, environment) == Profile("127.0.0.1:7000", "acme", None, None, tls=False)
    assert profile_of(None, {**environment, "STIGMER_ORG": "globex"}).org == "globex"
    work = profile_of(None, {**environment, "STIGMER_PROFILE": "work"})
    assert (work.server, work.token_file) == ("stigmer.example.com:7234", str(tmp_path / "stigmer" / "token"))
    assert getattr(work.tls, "args", None) == ("/etc/ca.pem",)
    assert getattr(work.tls, "keywords", None) == {
        "cert": str(tmp_path / "stigmer" / "client.pem"),
        "key": str(tmp_path / "stigmer" / "client.key"),
    }
    told = profile_of("work", {**environment, "STIGMER_TOKEN": "t", "STIGMER_SERVER": "unix:/run/s"})
    assert (told.server, told.token, told.token_file) == ("unix:/run/s", "t", None)
    assert "'t'" not in repr(told)


def test_tls_trusts_what_is_named(written: Callable[[str], dict[str, str]], tmp_path: Path) -> None:
    pems = certificates.make(tmp_path)
    environment = {**written(""), "STIGMER_CA": str(pems / "ca.pem")}
    for more in ({}, {"STIGMER_CLIENT_CERT": str(pems / "client.pem"), "STIGMER_CLIENT_KEY": str(pems / "client.key")}):
        tls = profile_of(None, {**environment, **more}).tls
        assert callable(tls)
        assert isinstance(tls(), ssl.SSLContext)
    public = profile_of("public", written(CONFIG)).tls
    assert callable(public)
    assert public().verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("text", "profile", "why"),
    [
        (CONFIG, "play", r"there is no profile 'play'; there are home, work, public"),
        ("", "play", r"there is no profile 'play'; there are none"),
        ("[profiles.a]\nservre = 'x'", "a", r"profiles\.a\.servre is no setting; there are server, org"),
        ("[profiles.a]\nserver = 3", "a", r"profiles\.a\.server is no setting"),
        ("[profiles]\na = 3", "a", r"a must be a table, \[profiles\.a\]"),
        ("profile = ", "", r"config\.toml: Invalid value"),
        ("[profiles.a]\nclient_key = 'k'", "a", r"a client's key without its certificate"),
    ],
)
def test_what_is_wrong_with_a_profile_is_said(
    written: Callable[[str], dict[str, str]], text: str, profile: str, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        profile_of(profile, written(text))


def test_a_profile_that_is_named_needs_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no profile 'a': .*config\.toml does not exist"):
        profile_of(None, {"XDG_CONFIG_HOME": str(tmp_path), "STIGMER_PROFILE": "a"})


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "~/.config/stigmer/config.toml"),
        ("linux", {"XDG_CONFIG_HOME": "/x"}, "/x/stigmer/config.toml"),
        ("darwin", {}, "~/Library/Application Support/stigmer/config.toml"),
        ("darwin", {"XDG_CONFIG_HOME": "/x"}, "/x/stigmer/config.toml"),
        ("win32", {"APPDATA": "/r"}, "/r/stigmer/config.toml"),
    ],
)
def test_the_file_is_where_the_platform_has_configurations(
    platform: str, environment: dict[str, str], expected: str
) -> None:
    assert config_file(environment, platform) == Path(expected).expanduser()


def test_a_client_of_the_environment(monkeypatch: pytest.MonkeyPatch, written: Callable[[str], dict[str, str]]) -> None:
    for name, value in written(CONFIG).items():
        monkeypatch.setenv(name, value)
    client = stigmer.Client.from_env()
    assert (client._calls.connection.server, client._calls.options.org) == ("127.0.0.1:7000", "acme")
    with pytest.raises(ValueError, match="no profile 'x'"):
        stigmer.Client.from_env(profile="x")
