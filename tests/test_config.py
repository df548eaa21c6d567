from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.config import Config, default_state_dir, load, parse, parse_size
from runnerd.errors import ConfigError

MiB = 1024**2


def test_defaults_without_a_file() -> None:
    config = load(None)
    assert config == Config()
    assert set(config.profiles) == {"default", "widget", "session"}
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


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        ({"boxes": {"max": 0}}, "boxes.max", ""),
        ({"boxes": {"mx": 1}}, "unknown key boxes.mx", "boxes.max"),
        ({"profiles": {"p": {"memory": "64Mx"}}}, "profiles.p.memory", ""),
        ({"profiles": {"p": {"wal": 1}}}, "unknown key profiles.p.wal", "wall"),
        ({"profiles": 3}, "profiles", ""),
        ({"auth": {"anonymous": "maybe"}}, "auth.anonymous", ""),
        ({"uids": {"first": 5000, "last": 4000}}, "uids.last is 4000", ""),
        ({"node": "Not Good"}, "node", ""),
    ],
)
def test_errors_name_the_key(data: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(data, "x.toml")
    assert refused.value.message.startswith("x.toml: ")
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_unreadable_and_malformed_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "nosuch.toml")
    (tmp_path / "bad.toml").write_text("boxes = [")
    with pytest.raises(ConfigError, match=r"bad\.toml: not TOML"):
        load(tmp_path / "bad.toml")


@given(st.integers(0, 10**6), st.sampled_from([("KiB", 1024), ("MB", 10**6), ("", 1), ("GiB", 1024**3)]))
def test_sizes(number: int, unit: tuple[str, int]) -> None:
    assert parse_size(f"{number}{unit[0]}", "x") == parse_size(f" {number} {unit[0]} ", "x") == number * unit[1]


def test_every_key_is_documented() -> None:
    """docs/configuration.md names each key in its table's section."""
    text = (Path(__file__).parents[1] / "docs/configuration.md").read_text()
    import msgspec

    for name, value in msgspec.structs.asdict(Config()).items():
        assert f"`{name}`" in text or f"`[{name}" in text, name
        if isinstance(value, msgspec.Struct):
            for key in value.__struct_fields__:
                assert f"`{key}`" in text, f"{name}.{key}"
    for key in Config().profiles["default"].__struct_fields__:
        assert f"`{key}`" in text, f"profiles.*.{key}"
