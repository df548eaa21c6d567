from pathlib import Path

import pytest

from runnerd import toolchains
from runnerd.errors import BadRequest, ConfigError, UnknownLanguage

LANGUAGES = toolchains.load()


def test_all_are_there() -> None:
    assert set(LANGUAGES.by_id) == {"python", "javascript", "c", "cpp", "java", "bash", "go", "rust"}


@pytest.mark.parametrize(("name", "id"), [("py", "python"), ("JS", "javascript"), ("C++", "cpp"), ("Java", "java")])
def test_names_and_aliases(name: str, id: str) -> None:
    assert LANGUAGES.get(name).id == id


def test_unknown_language_lists_the_known() -> None:
    with pytest.raises(UnknownLanguage) as refused:
        LANGUAGES.get("cobol")
    assert "python" in refused.value.hint


@pytest.mark.parametrize(("file", "id"), [("a.py", "python"), ("b/x.cpp", "cpp"), ("Main.java", "java")])
def test_language_of_a_file(file: str, id: str) -> None:
    assert LANGUAGES.for_file(Path(file)).id == id
    with pytest.raises(UnknownLanguage):
        LANGUAGES.for_file(Path("noending"))


def test_plan_of_code() -> None:
    plan = LANGUAGES.get("c").plan({"": b"int main;"}, None, ("a", "b"), "pipes")
    assert plan.files == {"main.c": b"int main;"}
    assert plan.compile is not None
    assert "main.c" in plan.compile
    assert plan.run == ("/tmp/program", "a", "b")


def test_plan_of_several_files() -> None:
    python = LANGUAGES.get("python")
    files = {"main.py": b"", "other.py": b""}
    assert python.plan(files, None, (), "terminal").run == ("python3", "main.py")
    assert python.plan(files, "other.py", (), "terminal").run == ("python3", "other.py")
    with pytest.raises(BadRequest, match=r"no file nosuch\.py"):
        python.plan(files, "nosuch.py", (), "terminal")
    with pytest.raises(BadRequest, match="no files"):
        python.plan({}, None, (), "terminal")


def test_preload_is_for_split_only() -> None:
    python = LANGUAGES.get("python")
    assert "PYTHONPATH" in python.plan({"": b""}, None, (), "split").env
    assert "PYTHONPATH" not in python.plan({"": b""}, None, (), "terminal").env


def test_where_files_of_a_box_lie() -> None:
    binds = (("/host/go", "/opt/go"),)
    assert toolchains.on_host("/opt/go/bin/go", binds) == "/host/go/bin/go"
    assert toolchains.on_host("/opt/gone", binds) == "/opt/gone"
    assert toolchains.on_host("/usr/bin/go", binds) == "/usr/bin/go"


def test_products_are_below_tmp(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(
        'name = "X"\nsource = "x"\nrun = ["x"]\nneeds = []\ncompiled = { products = ["/work/program"] }\n'
        '[sample]\ncode = ""\ninput = ""\noutput = ""\n'
    )
    with pytest.raises(ConfigError, match=r"x\.toml: compiled\.products holds /work/program"):
        toolchains.load(tmp_path)


def test_missing_programs_name_their_package(tmp_path: Path) -> None:
    text = (
        'name = "X"\nsource = "main.x"\nrun = ["x"]\nneeds = [{ program = "/nonexistent/x", package = "x-lang" }]\n'
        '[sample]\ncode = ""\ninput = ""\noutput = ""\n'
    )
    (tmp_path / "x.toml").write_text(text)
    languages = toolchains.load(tmp_path)
    assert [need.package for need in languages.missing(languages.get("x"))] == ["x-lang"]


@pytest.mark.parametrize("text", ["name = 3", "nonsense", 'name = "X"\nextra = 1'])
def test_wrong_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        toolchains.load(tmp_path)
