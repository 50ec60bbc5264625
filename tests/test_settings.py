from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from stigmer.address import TcpAddress, UnixAddress
from stigmer.errors import StartupError
from stigmer.settings import SECTIONS, Settings
from stigmer.settings.sources import OF_THE_CLIENT

UNREADABLE = Path("/proc/self/mem")  # for root, too
EXAMPLE = Path(__file__).parents[1] / "stigmer.example.toml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.upper().startswith("STIGMER_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    (home / ".stigmer").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    return home


def toml(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def refusal(**flags: object) -> list[str]:
    with pytest.raises(StartupError) as caught:
        Settings.load(**flags)
    return str(caught.value).splitlines()


def test_without_anything_the_defaults_hold(home: Path) -> None:
    settings = Settings.load()
    assert settings.listen == ("127.0.0.1:7234",)
    assert settings.addresses == (TcpAddress("127.0.0.1", 7234),)
    assert settings.data_dir == home / ".stigmer"
    assert (settings.max_message_bytes, settings.max_streams, settings.max_subscriptions) == (10 * 2**20, 1000, 10_000)
    assert (settings.keepalive_s, settings.keepalive_timeout_s, settings.grace_s) == (30, 10, 10)
    assert settings.config is None


def test_plain_settings_take_nothing_from_the_environment_or_a_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml(home / ".stigmer/stigmer.toml", "max_streams = 7\ngrace_s = 7")
    monkeypatch.setenv("STIGMER_MAX_STREAMS", "8")
    monkeypatch.setenv("STIGMER_LISTEN", "nowhere")
    monkeypatch.setenv("STIGMER_LISTNE", "unknown")
    settings = Settings(grace_s=9)
    assert (settings.listen, settings.max_streams, settings.grace_s) == (("127.0.0.1:7234",), 1000, 9)


def test_plain_settings_and_loaded_ones_are_equal() -> None:
    assert Settings.load(grace_s=9) == Settings(grace_s=9)


def test_plain_settings_refuse_a_file_that_they_would_not_read(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=re.escape("call Settings.load(config=…)")):
        Settings(config=tmp_path / "s.toml")


def test_a_host_s_settings_read_no_file_in_its_home(home: Path) -> None:
    toml(home / ".stigmer/stigmer.toml", "nonsense")
    code = "from stigmer.settings import Settings; print(Settings(max_streams=3).max_streams)"
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "STIGMER_MAX_STREAMS": "many", "STIGMER_NONSENSE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


def warning() -> str:
    with pytest.warns(UserWarning, match="^unknown variables") as caught:
        Settings.load()
    (warned,) = caught
    return str(warned.message)


def test_one_line_warns_of_variables_that_are_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMER_LISTNE", "127.0.0.1:1")
    monkeypatch.setenv("stigmer_max_steams", "5")
    monkeypatch.setenv("STIGMER_COLOUR\n", "blue")
    assert warning() == (
        "unknown variables: 'STIGMER_COLOUR\\n' (no setting), STIGMER_LISTNE (did you mean STIGMER_LISTEN?), "
        "stigmer_max_steams (did you mean STIGMER_MAX_STREAMS?); correct or unset them"
    )


@pytest.mark.parametrize(
    "name",
    [
        *(f"STIGMER_{name}" for name in sorted(OF_THE_CLIENT)),
        "STIGMER_SERVICE_HOST",
        "STIGMER_SERVICE_PORT_GRPC",
        "STIGMER_PORT",
        "STIGMER_PORT_7234_TCP_ADDR",
        "STIGMERS_OTHER",
    ],
)
def test_nothing_warns_of_the_client_s_variables_and_of_what_kubernetes_injects(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:7234")
    assert Settings.load() == Settings()


def test_a_service_of_kubernetes_whose_name_only_begins_with_stigmer_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_80_TCP", "PORT_80_TCP_PROTO", "PORT_80_TCP_ADDR"):
        monkeypatch.setenv(f"STIGMER_RUNNER_{name}", "10.0.0.1")
    assert Settings.load() == Settings()
    monkeypatch.setenv("STIGMER_LISTEN_PORT", "80")
    assert "STIGMER_LISTEN_PORT" in warning()


def test_a_flag_that_is_no_setting_is_refused() -> None:
    assert refusal(max_steams=1) == ["--max-steams: unknown setting; did you mean max_streams?"]


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml(tmp_path / "s.toml", 'listen = "127.0.0.1:1"\nmax_streams = 1\ngrace_s = 1\n')
    monkeypatch.setenv("STIGMER_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("STIGMER_MAX_STREAMS", "2")
    settings = Settings.load(config=file, listen="127.0.0.1:3")
    assert (settings.listen, settings.max_streams, settings.grace_s) == (("127.0.0.1:3",), 2, 1)


def test_a_flag_of_none_was_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMER_LOG_LEVEL", "DEBUG")
    assert Settings.load(log_level=None).log_level == "debug"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMER_TLS_CERT", "")
    assert Settings.load().tls_cert is None


def test_the_file_in_the_home_directory_is_read_when_it_is_there(home: Path) -> None:
    file = toml(home / ".stigmer/stigmer.toml", "max_streams = 7")
    assert (Settings.load().max_streams, Settings.load().config) == (7, file)


def test_a_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMER_CONFIG", str(toml(tmp_path / "s.toml", "max_streams = 7")))
    assert Settings.load().max_streams == 7


def test_relative_paths_in_the_file_start_at_the_file(tmp_path: Path) -> None:
    names = ["data_dir", "tls_cert", "tls_key", "tls_client_ca"]
    for name in names:
        (tmp_path / name).touch()
    file = toml(tmp_path / "s.toml", "\n".join(f'{name} = "{name}"' for name in names))
    settings = Settings.load(config=file)
    assert [getattr(settings, name) for name in names] == [tmp_path / name for name in names]


def test_a_tilde_means_the_home_directory(home: Path) -> None:
    assert Settings.load(data_dir="~/d").data_dir == home / "d"


def test_without_a_home_directory_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert "set HOME" in refusal()[0]


def test_every_wrong_value_is_listed_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml(tmp_path / "s.toml", "max_steams = 5\ngrace_s = true\n")
    monkeypatch.setenv("STIGMER_MAX_STREAMS", "many")
    lines = refusal(config=file, listen="nowhere")
    assert len(lines) == 4
    assert any(line.startswith("--listen: 'nowhere': not HOST:PORT; write it like") for line in lines)
    assert any(line.startswith("STIGMER_MAX_STREAMS: 'many': Input should be a valid integer") for line in lines)
    assert any(line.startswith(f"{file}: grace_s: True: not a number") for line in lines)
    assert f"{file}: max_steams: unknown setting; did you mean max_streams?" in lines


def test_an_unknown_key_like_no_other_lists_the_known_ones(tmp_path: Path) -> None:
    assert "use one of listen, data_dir" in refusal(config=toml(tmp_path / "s.toml", "colour = 1"))[0]


def test_a_missing_file_is_refused_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "none.toml"
    assert refusal(config=missing) == [f"{missing}: no such file; correct --config, or leave it out"]
    monkeypatch.setenv("STIGMER_CONFIG", str(missing))
    assert refusal() == [f"{missing}: no such file; correct STIGMER_CONFIG, or leave it out"]


@pytest.mark.parametrize("content", [b"listen = ", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "s.toml"
    file.write_bytes(content)
    assert refusal(config=file)[0].startswith(f"{file}: not a TOML file (")


def test_a_directory_is_no_settings_file(tmp_path: Path) -> None:
    assert refusal(config=tmp_path) == [f"{tmp_path}: not a file; correct --config, or leave it out"]


@pytest.mark.skipif(not UNREADABLE.exists(), reason="needs Linux")
def test_a_file_that_cannot_be_read_is_refused() -> None:
    line = f"{UNREADABLE}: cannot be read (Input/output error); check the path and its permissions"
    assert refusal(config=UNREADABLE) == [line]


@pytest.mark.parametrize(
    "content",
    [
        f"listen = {'[' * 100_000}",
        f"x = {'{a=' * 100_000}",
        f"listen{'.a' * 5_000} = 1",
        f"nothing{'.a' * 5_000} = 1",
    ],
)
def test_a_file_that_nests_deep_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    file = toml(tmp_path / "s.toml", content)
    (line,) = refusal(config=file)
    assert line.startswith(f"{file}: ")
    assert "HOME" not in line
    assert re.search(r"nested too deep; every setting is|unknown setting|listen: a table: Input should be", line)


def test_an_array_of_arrays_without_end_is_nested_too_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMER_CONFIG", str(toml(tmp_path / "s.toml", f"listen = {'[' * 100_000}")))
    assert refusal()[0].startswith(f"{tmp_path / 's.toml'}: nested too deep")


@pytest.mark.parametrize("name", ["config", "data_dir", "tls_cert"])
def test_an_empty_path_is_refused(tmp_path: Path, name: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    assert refusal(**{name: ""})[0] == f"{flag}: '': empty; give a path, or leave it out"
    if name != "config":
        file = toml(tmp_path / "s.toml", f'{name} = ""')
        assert refusal(config=file)[0] == f"{file}: {name}: '': empty; give a path, or leave it out"


@pytest.mark.parametrize("path", ["a\0b", "~\0", "/\0"])
@pytest.mark.parametrize("name", ["data_dir", "tls_key"])
def test_a_path_with_a_nul_is_refused(tmp_path: Path, name: str, path: str) -> None:
    escaped = path.replace("\0", "\\u0000")
    file = toml(tmp_path / "s.toml", f'{name} = "{escaped}"')
    assert refusal(config=file) == [f"{file}: {name}: {path!r}: holds a NUL character; give a path without"]
    assert refusal(**{name: path})[0].endswith(": holds a NUL character; give a path without")


def test_a_path_of_bytes_that_are_no_text_is_taken() -> None:
    assert Settings.load(data_dir="/\udcff").data_dir == Path("/\udcff")


def test_no_value_breaks_its_line(tmp_path: Path) -> None:
    evil = r"a\nFORGED\u001b[31m\u0085\u2028\u202e"
    file = toml(
        tmp_path / "s\n\x1b.toml",
        f'listen = "{evil}:1"\ndata_dir = "{evil}\\u0000"\ntls_key = "{evil}"\nlog_level = "{evil}"\n"{evil}" = 1\n',
    )
    with pytest.raises(StartupError) as caught:
        Settings.load(config=file)
    lines = str(caught.value).split("\n")
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)
    with pytest.raises(StartupError) as caught:
        Settings.load(config=tmp_path / "none\n")
    assert str(caught.value).isprintable()


def test_a_file_cannot_name_another(tmp_path: Path) -> None:
    assert "cannot name another" in refusal(config=toml(tmp_path / "s.toml", 'config = "other"'))[0]


@pytest.mark.parametrize("given", ["tls_cert", "tls_key", "tls_client_ca", "certificates_file"])
def test_tls_needs_certificate_and_key(tmp_path: Path, given: str) -> None:
    pem = toml(tmp_path / "x.pem", "")
    (line,) = refusal(**{given: pem})
    assert line.startswith(f"--{given.replace('_', '-')}: {given} needs tls_")


def test_a_missing_certificate_file_is_refused(tmp_path: Path) -> None:
    (line,) = refusal(tls_cert=tmp_path / "no.pem", tls_key=toml(tmp_path / "k", ""))
    assert line.startswith("--tls-cert: ")
    assert line.endswith("no.pem: no such file; give the path of a PEM file")


def test_the_budgets_hold_the_largest_messages() -> None:
    what = "max_connection_memory_bytes must be 67108864 or more for this max_message_bytes"
    assert refusal(max_message_bytes=2**26) == [f"--max-message-bytes: {what}; raise it, or lower the other"]
    what = "max_memory_bytes must be 67108864 or more for this max_connection_memory_bytes"
    assert refusal(max_memory_bytes=2**25) == [f"--max-memory-bytes: {what}; raise it, or lower the other"]


@pytest.mark.parametrize(
    "flags",
    [{"max_streams": 0}, {"keepalive_s": 0}, {"grace_s": -1}, {"grace_s": float("inf")}, {"context_ttl": 0.9}],
)
def test_numbers_out_of_range_are_refused(flags: dict[str, float]) -> None:
    assert len(refusal(**flags)) == 1


def test_several_addresses_are_an_array_or_text_with_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    several = ("127.0.0.1:1", "[::1]:2", "unix:/run/s.sock")
    text = ",".join(several)
    assert Settings.load(config=toml(tmp_path / "array.toml", f"listen = {list(several)}")).listen == several
    assert Settings.load(config=toml(tmp_path / "text.toml", f'listen = "{text}"')).listen == several
    assert Settings.load(listen=list(several)).listen == several
    monkeypatch.setenv("STIGMER_LISTEN", text.replace(",", ", "))
    assert Settings.load().listen == several
    assert Settings.load().addresses[2] == UnixAddress("/run/s.sock")


@pytest.mark.parametrize(
    ("listen", "says"),
    [
        ([], "give each one once"),
        (["h:1", "h:1"], "give each one once"),
        (["h:1", "nowhere"], "'nowhere': not HOST:PORT; write it like 127.0.0.1:7234 or [::1]:7234, or unix:PATH"),
        ("h:1,", "'': not HOST:PORT"),
        (7234, "7234: Input should be a valid tuple; Addresses to listen on"),
        ([7234], "7234: Input should be a valid string; Addresses to listen on"),
    ],
)
def test_wrong_addresses_are_told_with_their_source(listen: object, says: str, tmp_path: Path) -> None:
    (line,) = refusal(config=toml(tmp_path / "s.toml", f"listen = {json.dumps(listen)}"))
    assert line.startswith(f"{tmp_path / 's.toml'}: listen: ")
    assert says in line


def test_a_socket_s_path_in_a_file_begins_at_the_file(tmp_path: Path, home: Path) -> None:
    file = toml(tmp_path / "s.toml", 'listen = ["unix:s.sock", "unix:~/t.sock", "unix:///run/u.sock"]')
    assert Settings.load(config=file).listen == (
        f"unix:{tmp_path / 's.sock'}",
        f"unix:{home / 't.sock'}",
        "unix:/run/u.sock",
    )


def test_the_call_goes_where_it_listens(tmp_path: Path) -> None:
    call = Settings.load().how_to_call
    assert call(TcpAddress("0.0.0.0", 99)) == "grpcurl -plaintext 127.0.0.1:99 list"
    assert call(UnixAddress("/run/s.sock")) == "grpcurl -plaintext -unix /run/s.sock list"
    pem = toml(tmp_path / "x.pem", "")
    call = Settings.load(tls_cert=pem, tls_key=pem, tls_client_ca=pem).how_to_call
    assert call(TcpAddress("h", 1)) == f"grpcurl -cacert {pem} -cert CLIENT.pem -key CLIENT.key h:1 list"
    assert call(UnixAddress("/run/s.sock")) == "grpcurl -plaintext -unix /run/s.sock list"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load().listen = ("h:1",)


def test_the_example_file_holds_every_setting_with_its_description_and_default(home: Path) -> None:
    text = EXAMPLE.read_text()
    table = tomllib.loads(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE))
    fields = {name: field for name, field in Settings.model_fields.items() if name != "config"}
    assert list(table) == list(fields)
    defaults = Settings.load()
    for name, field in fields.items():
        assert f"# {field.description}" in text
        if field.default is not None:
            assert getattr(Settings.load(**{name: table[name]}), name) == getattr(defaults, name)


def test_the_example_file_has_the_sections_of_the_settings() -> None:
    text = EXAMPLE.read_text()
    found = re.findall(r"^## (.*)$|^# (\w+) = ", text, flags=re.MULTILINE)
    starts = [(key, heading) for (heading, _), (_, key) in pairwise(found) if heading]
    assert starts == list(SECTIONS.items())


def test_the_example_file_as_it_stands_changes_nothing(home: Path) -> None:
    assert Settings.load(config=EXAMPLE).model_dump(exclude={"config"}) == Settings.load().model_dump(
        exclude={"config"}
    )


def test_the_data_directory_is_told_as_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.load(data_dir="data").data_dir == tmp_path / "data"


JWT: dict[str, object] = {"jwt_issuer": "https://id", "jwt_audience": "stigmer", "jwt_keys": "https://id/keys"}


@pytest.mark.parametrize("left_out", JWT)
def test_an_issuer_needs_its_audience_and_its_keys_and_these_need_an_issuer(left_out: str) -> None:
    given = {name: value for name, value in JWT.items() if name != left_out}
    (line,) = refusal(**given, jwt_role_claim="role")
    assert f" needs {left_out}; give both or neither" in line


def test_an_issuer_needs_a_way_to_a_role() -> None:
    assert refusal(**JWT) == [
        "--jwt-issuer: jwt_issuer needs jwt_role_claim or jwt_default_role; give one of both",
    ]
    assert Settings.load(**JWT, jwt_role_claim="role").jwt_default_role is None
    assert Settings.load(**JWT, jwt_default_role="reader").jwt_role_claim is None


@pytest.mark.parametrize("name", ["none", "HS256", "HS512", "ES256K", "rs256", ""])
def test_algorithms_by_which_anybody_could_sign_cannot_be_set(name: str) -> None:
    assert refusal(jwt_algorithms=[name])[0].startswith(f"--jwt-algorithms: {name!r}: Input should be 'RS256', ")


def test_algorithms_are_a_list_or_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIGMER_JWT_ALGORITHMS", "ES256, EdDSA")
    assert Settings.load().jwt_algorithms == ("ES256", "EdDSA")
    assert Settings.load(jwt_algorithms=["RS256"]).jwt_algorithms == ("RS256",)


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com/keys",
        "http://127.0.0.1.example.com/keys",
        "http://user@127.0.0.1/keys",
        "https://user:password@id/keys",
        "https:///keys",
        "ftp://id/keys",
        "file:///etc/keys",
        "://",
        "https://[::1/keys",
    ],
)
def test_keys_come_by_a_url_that_nobody_on_the_way_can_answer_for(url: str) -> None:
    assert refusal(**{**JWT, "jwt_keys": url}, jwt_role_claim="role")[0].startswith(f"--jwt-keys: {url!r}: ")


@pytest.mark.parametrize(
    "url", ["https://id/keys?v=1", "http://127.0.0.1:8080/keys", "http://[::1]/", "http://localhost/"]
)
def test_keys_may_come_by_https_or_from_this_machine(url: str, tmp_path: Path) -> None:
    file = toml(tmp_path / "s.toml", f'jwt_keys = "{url}"\njwt_issuer = "i"\njwt_audience = "a"\njwt_role_claim = "r"')
    assert Settings.load(config=file).jwt_keys == url


def test_keys_may_be_a_file_beside_the_settings(tmp_path: Path) -> None:
    file = toml(
        tmp_path / "s.toml", 'jwt_keys = "keys.json"\njwt_issuer = "i"\njwt_audience = "a"\njwt_role_claim = "r"'
    )
    assert Settings.load(config=file).jwt_keys == tmp_path / "keys.json"
