"""Settings from TOML, what is told of wrong ones, and docs/configuration.md against the code."""

import contextlib
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.config import Config, Profile, default_state_dir, load, parse, parse_size
from runnerd.errors import ConfigError
from runnerd.server.auth import check_settings

ROOT = Path(__file__).parents[1]

MiB = 1024**2


def test_defaults_without_a_file() -> None:
    config = load(None)
    assert config == Config()
    assert set(config.profiles) == {"default", "widget", "session", "execute", "space", "local"}
    assert config.profiles["widget"].memory == 128 * MiB
    assert config.state == default_state_dir()


def test_a_file_overrides(tmp_path: Path) -> None:
    file = tmp_path / "runnerd.toml"
    file.write_text(
        'listen = "[::1]:80"\n[boxes]\nmax = 3\n[profiles.default]\nmemory = "64MiB"\n[profiles.big]\ncpus = 4\n'
    )
    config = load(file)
    assert (config.listen, config.boxes.max) == ("[::1]:80", 3)
    assert config.profiles["default"].memory == 64 * MiB
    assert config.profiles["big"].cpus == 4
    assert config.profiles["widget"].widget


def test_other_profiles_start_from_default_as_it_is_set(tmp_path: Path) -> None:
    profiles = parse({"profiles": {"big": {"cpus": 4}, "default": {"memory": "64MiB"}}}).profiles
    assert (profiles["big"].cpus, profiles["big"].memory) == (4, 64 * MiB)
    assert profiles["widget"] == Config().profiles["widget"]
    assert profiles["session"].memory == 200_000_000


def test_a_profile_may_have_a_price_of_its_own() -> None:
    prices = parse({"prices": {"run": 2, "profiles": {"widget": 0, "big": 9}}, "profiles": {"big": {}}}).prices
    assert [prices.of_run(name) for name in ("widget", "big", "execute")] == [0, 9, 2]


def test_profiles_have_the_published_figures() -> None:
    widget, session = Config().profiles["widget"], Config().profiles["session"]
    assert (widget.memory, widget.cpus, widget.tmp) == (128 * MiB, 0.2, 10 * MiB)
    assert (widget.cpu, widget.wall, widget.processes, widget.widget) == (10, 60, 32, True)
    assert (session.memory, session.cpus, session.work) == (200_000_000, 0.5, 32 * MiB)
    assert (session.idle, session.wall, session.output, session.processes) == (30, 120, 1_000_000, 32)


@pytest.mark.parametrize("name", Config().profiles)
def test_what_a_profiles_folders_may_hold_leaves_memory_for_programs(name: str) -> None:
    profile = Config().profiles[name]
    assert profile.tmp + (0 if profile.widget else profile.work + profile.shm) <= profile.memory * 0.75


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        ({"boxes": {"max": 0}}, "boxes.max is 0: expected a whole number from 1 to 1048576", ""),
        ({"boxes": {"max": "9"}}, 'boxes.max is "9": expected a whole number', ""),
        ({"boxes": {"max": True}}, "boxes.max is true: expected a whole number", ""),
        ({"boxes": {"max": 10**30}}, "expected a whole number from 1", ""),
        ({"boxes": {"pressure_cpu": 101}}, "boxes.pressure_cpu is 101: expected a number from 0 to 100", ""),
        ({"boxes": {"memory": "x"}}, 'boxes.memory is "x": expected bytes', ""),
        ({"boxes": 3}, "boxes is 3: expected a table", ""),
        ({"boxes": {"mx": 1}}, "unknown key boxes.mx", "did you mean boxes.max?"),
        ({"lisen": "x"}, "unknown key lisen", "did you mean listen?"),
        ({"drain": {"xyz": 1}}, "unknown key drain.xyz", "known keys: seconds"),
        ({"profiles": {"p": {"memory": "64Mx"}}}, 'profiles.p.memory is "64Mx": expected bytes', ""),
        ({"profiles": {"p": {"memory": "9" * 400}}}, 'profiles.p.memory is "999', ""),
        ({"profiles": {"p": {"memory": "1kB"}}}, 'profiles.p.memory is "1kB": expected bytes from 4096', ""),
        ({"profiles": {"p": {"memory": 5e6}}}, "profiles.p.memory is 5000000.0: expected bytes", ""),
        ({"profiles": {"p": {"wall": math.inf}}}, "profiles.p.wall is Infinity: expected a number from 0", ""),
        ({"profiles": {"p": {"wall": math.nan}}}, "profiles.p.wall is NaN: expected a number from 0", ""),
        ({"profiles": {"p": {"cpus": 0}}}, "profiles.p.cpus is 0: expected a number above 0", ""),
        ({"profiles": {"p": {"widget": 1}}}, "profiles.p.widget is 1: expected true or false", ""),
        ({"profiles": {"p": {"wal": 1}}}, "unknown key profiles.p.wal", "did you mean profiles.p.wall?"),
        ({"profiles": {"p": 1}}, "profiles.p is 1: expected a table", ""),
        ({"profiles": 3}, "profiles is 3: expected tables", ""),
        ({"auth": {"mode": "maybe"}}, 'auth.mode is "maybe": expected one of keys, open', ""),
        ({"uids": {"first": 5000, "last": 4000}}, "uids.last is 4000", ""),
        ({"uids": {"last": 2**32 - 1}}, "uids.last is 4294967295", ""),
        ({"http": {"origins": "*"}}, 'http.origins is "*": expected a list of text', ""),
        ({"http": {"head_size": "2MiB"}}, 'http.head_size is "2MiB": expected bytes from 1024 to 1048576', ""),
        ({"node": "Not Good"}, 'node is "Not Good": expected text that matches', ""),
        ({"listen": 80}, "listen is 80: expected text", ""),
        ({"prices": {"run": -1}}, "prices.run is -1: expected a whole number from 0", ""),
        ({"prices": {"profiles": 3}}, "prices.profiles is 3: expected a table of whole numbers from 0", ""),
        ({"prices": {"profiles": {"widget": "1"}}}, 'prices.profiles is {"widget": "1"}: expected a table', ""),
        ({"prices": {"profiles": {"wigdet": 1}}}, 'prices.profiles names "wigdet"', "widget"),
    ],
)
def test_errors_name_the_key_what_was_found_and_what_is_allowed(
    data: dict[str, object], message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(data, "x.toml")
    assert refused.value.message.startswith("x.toml: ")
    assert message in refused.value.message
    assert hint in refused.value.hint
    assert len(refused.value.message) < 200


toml_values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from([*Config.__struct_fields__, "x"])
inner_keys = st.sampled_from(["max", "first", "seconds", "mode", "origins", "head_size", "default", "memory"])


@given(st.dictionaries(keys, toml_values | st.dictionaries(inner_keys, toml_values)))
def test_whatever_a_file_holds_is_taken_or_refused(data: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        assert "default" in parse(data).profiles


def test_unreadable_and_malformed_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "nosuch.toml")
    (tmp_path / "bad.toml").write_text("boxes = [")
    with pytest.raises(ConfigError, match=r"bad\.toml: not TOML"):
        load(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"bad\.toml: not TOML"):
        load(tmp_path / "bad.toml")


@given(st.integers(0, 10**6), st.sampled_from([("KiB", 1024), ("MB", 10**6), ("", 1), ("GiB", 1024**3)]))
def test_sizes(number: int, unit: tuple[str, int]) -> None:
    assert parse_size(f"{number}{unit[0]}", "x") == parse_size(f" {number} {unit[0]} ", "x") == number * unit[1]


def documented() -> dict[str, list[list[str]]]:
    """docs/configuration.md: a section's title -> the cells of its table's rows, without the heading."""
    text = (ROOT / "docs/configuration.md").read_text()
    sections = {part.partition("\n")[0].strip("`[]"): part for part in text.split("\n## ")[1:]}
    rows = {title: re.findall(r"^\| `.*\|$", part, re.MULTILINE) for title, part in sections.items()}
    return {title: [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows[title]] for title in rows}


def meant(cell: str, value: object) -> object:
    """What a cell says, as a setting of the same type as `value`."""
    if isinstance(value, bool):
        return cell == "true"
    if isinstance(value, int):
        return parse_size(cell, cell)
    if isinstance(value, float):
        return float(cell)
    if isinstance(value, dict):
        return {"none": {}}[cell]
    if cell.startswith("["):
        return tuple(json.loads(cell))
    return {"empty": "", "none": ()}.get(cell, cell)


def nested(name: str, table: msgspec.Struct) -> dict[str, dict[str, Any]]:
    """A table's settings by its title; the tables within it have their own."""
    settings = msgspec.structs.asdict(table)
    within = {key: value for key, value in settings.items() if isinstance(value, msgspec.Struct)}
    plain = {key: value for key, value in settings.items() if key not in within}
    tables = {name: plain} if plain else {}
    for key, value in within.items():
        tables |= nested(f"{name}.{key}", value)
    return tables


def test_every_key_is_documented_with_its_default() -> None:
    sections = documented()
    plain = {name: value for name, value in msgspec.structs.asdict(Config()).items() if name != "profiles"}
    tables = {"Top level": {name: value for name, value in plain.items() if not isinstance(value, msgspec.Struct)}}
    for name, value in plain.items():
        if isinstance(value, msgspec.Struct):
            tables |= nested(name, value)
    for title, settings in tables.items():
        assert {row[0]: meant(row[1], settings[row[0]]) for row in sections.pop(title)} == settings, title
    profiles = Config().profiles
    rows = sections.pop("profiles.NAME")
    assert {row[0] for row in rows} == set(Profile.__struct_fields__)
    for key, *cells, _ in rows:
        for name, cell in zip(("default", "widget", "session", "execute", "space", "local"), cells, strict=True):
            value = getattr(profiles[name], key)
            assert cell == "–" or meant(cell, value) == value, f"{name}.{key}"
    assert not sections


def test_the_documents_example_is_right() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    assert parse(tomllib.loads(example[1])) != Config()


def test_what_the_service_is_installed_with_is_right() -> None:
    """Also the lines that an operator is to uncomment."""
    text = (ROOT / "systemd/runnerd.toml").read_text()
    uncommented = re.sub(r"^#(?=\[|\w+ = )", "", text, flags=re.MULTILINE)
    assert uncommented != text
    assert parse(tomllib.loads(text)).state_dir == parse(tomllib.loads(uncommented)).state_dir == "/var/lib/runnerd"


def test_what_the_vagrantfile_writes_is_right() -> None:
    """Its port comes in from outside the machine, and wants no key."""
    written = re.search(r"printf '(.*\[auth\].*)' >/etc/runnerd/runnerd.toml", (ROOT / "Vagrantfile").read_text())
    assert written is not None
    config = parse(tomllib.loads(written[1].replace("\\n", "\n")))
    check_settings(config.auth, "0.0.0.0:8080", loopback=False)
    assert config.auth.mode == "open"
