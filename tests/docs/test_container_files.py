"""What of the container files can be checked without an engine."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from container_files import parse_compose, stages
from markdown_text import ROOT, document

from stigmer.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

DOCKERFILE = document("Dockerfile")
BUILD, RUN = stages(DOCKERFILE)
COMPOSE = parse_compose(document("docker-compose.yml"))
SERVICE: dict[str, Any] = COMPOSE["services"]["stigmer"]
PYPROJECT: dict[str, Any] = tomllib.loads(document("pyproject.toml"))
PROJECT = PYPROJECT["project"]
VERSION = PROJECT["version"]


def values(stage: list[Any], name: str) -> list[str]:
    return [instruction.value for instruction in stage if instruction.name == name]


def environment() -> dict[str, str]:
    pairs = re.findall(r"(\w+)=(\S+)", " ".join(values(RUN, "ENV")))
    return dict(pairs)


def seconds(text: str) -> int:
    return int(re.fullmatch(r"(\d+)s", text)[1])  # type: ignore[index]  # a duration in seconds, or the test fails


def test_the_image_runs_as_a_fixed_user_that_is_not_root() -> None:
    (user,) = values(RUN, "USER")
    uid, gid = user.split(":")
    assert int(uid) >= 10_000
    made = " ".join(values(RUN, "RUN"))
    assert f"--uid {uid} " in made
    assert f"--gid {gid} " in made


def test_the_user_owns_the_volume_and_nobody_else_reads_it() -> None:
    (volume,) = values(RUN, "VOLUME")
    assert f"install --directory --owner=stigmer --group=stigmer --mode=0700 {volume}" in " ".join(values(RUN, "RUN"))
    assert environment()["STIGMER_DATA_DIR"] == volume
    assert SERVICE["volumes"] == [f"data:{volume}"]
    assert COMPOSE["volumes"] == {"data": {}}


def test_the_image_asks_the_server_whether_it_is_healthy() -> None:
    (check,) = values(RUN, "HEALTHCHECK")
    assert check.endswith('CMD ["stigmer", "health"]')
    assert SERVICE["healthcheck"]["test"] == ["CMD", "stigmer", "health"]


def test_the_server_is_the_first_process_and_gets_the_signals() -> None:
    assert json.loads(*values(RUN, "ENTRYPOINT")) == ["stigmer"]
    assert json.loads(*values(RUN, "CMD")) == ["serve"]
    assert values(RUN, "STOPSIGNAL") == ["SIGTERM"]
    assert "stigmer" in PROJECT["scripts"]


def test_the_port_is_the_default_one_and_published_on_the_hosts_loopback_alone() -> None:
    port = Settings.model_fields["listen"].default[0].rpartition(":")[2]
    assert values(RUN, "EXPOSE") == [port]
    assert environment()["STIGMER_LISTEN"] == f"0.0.0.0:{port}"
    assert SERVICE["ports"] == [f"127.0.0.1:{port}:{port}"]


@pytest.mark.parametrize("given", [environment(), SERVICE["environment"]])
def test_every_variable_that_is_set_is_a_setting_with_a_valid_value(
    given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name for name in given if name.startswith("STIGMER_")]
    assert {name.removeprefix("STIGMER_").lower() for name in names} <= set(Settings.model_fields)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in names:
        monkeypatch.setenv(name, given[name])
    Settings.load()


def test_an_engine_waits_longer_than_the_server_for_calls_in_flight() -> None:
    grace_s = float(SERVICE["environment"]["STIGMER_GRACE_S"])
    assert seconds(SERVICE["stop_grace_period"]) > grace_s


def test_the_container_can_write_to_its_volume_alone_and_gain_no_privilege() -> None:
    assert SERVICE["read_only"] is True
    assert [mount.partition(":")[0] for mount in SERVICE["tmpfs"]] == ["/tmp"]
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in SERVICE
    assert SERVICE["restart"] == "unless-stopped"


def test_the_versions_are_the_projects() -> None:
    assert f'org.opencontainers.image.version="{VERSION}"' in " ".join(values(RUN, "LABEL"))
    assert SERVICE["image"] == f"{PROJECT['name']}:{VERSION}"
    assert f'org.opencontainers.image.licenses="{PROJECT["license"]}"' in " ".join(values(RUN, "LABEL"))


def test_the_image_has_the_python_that_the_project_asks_for() -> None:
    found = re.search(r"^ARG PYTHON=python:(\d+)\.(\d+)-slim", DOCKERFILE, re.MULTILINE)
    assert found is not None
    assert f"Programming Language :: Python :: {found[1]}.{found[2]}" in PROJECT["classifiers"]
    assert all(values(stage, "FROM")[0].split()[0] == "${PYTHON}" for stage in (BUILD, RUN))


def test_everything_is_installed_in_the_versions_of_the_constraints() -> None:
    installs = re.findall(r"pip(?: --python \S+)? (?:install|wheel) [^&]*", " ".join(values(BUILD, "RUN")))
    assert len(installs) == 3
    assert [line for line in installs if not re.search(r"--(build-)?constraint constraints\.txt", line)] == []
    assert "pip" not in " ".join(values(RUN, "RUN"))


@pytest.mark.parametrize("name", ["Dockerfile", "docker-compose.yml", "constraints.txt", "pyproject.toml"])
def test_no_index_and_no_registry_is_named(name: str) -> None:
    text = "\n".join(line for line in document(name).splitlines() if not line.lstrip().startswith("#"))
    assert re.findall(r"https?://|--(?:extra-)?index|--trusted-host|--find-links|PIP_\w*URL", text) == []


def test_the_builder_is_sent_what_it_copies_and_nothing_else() -> None:
    copied = {name for value in values(BUILD, "COPY") for name in value.split()[:-1]}
    lines = [line for line in document(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_wheel_has_every_file_that_is_not_python() -> None:
    package = ROOT / "src" / "stigmer"
    shipped = {
        file for glob in PYPROJECT["tool"]["setuptools"]["package-data"]["stigmer"] for file in package.glob(glob)
    }
    files = {file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    left = {file for file in files if file.suffix != ".py"} - shipped
    assert {file.name for file in left} <= {"py.typed"}  # of generated packages; setuptools takes these by itself


@pytest.mark.parametrize("text", ["a: b: c", "  a: 1\n", "a: b\na: c", "- a", "a: *b"])
def test_the_reader_of_the_compose_file_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(ValueError, match=r"form|indentation|quotes"):
        parse_compose(text)
