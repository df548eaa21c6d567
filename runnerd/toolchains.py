"""The languages: data files under toolchains/, read into values, and how each runs a set of files."""

import importlib.util
import shutil
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from runnerd.errors import BadRequest, ConfigError, UnknownLanguage
from runnerd.resources import folder

Step = Literal["compile", "program"]


class Need(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A program a language cannot do without, as an absolute path in a box, and the package that brings it."""

    program: str
    package: str


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A small interactive program, what to answer it, and all it then writes to stdout when it runs on pipes."""

    code: str
    input: str
    output: str


class Driver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The program that keeps variables between runs; {socket} in `run` is where it listens (docs/kernels.md)."""

    run: tuple[str, ...]


class Compiled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a compile step can be kept (docs/compiling.md).

    `products` are the files and folders below /tmp that it makes. `watches` are host paths, `*` allowed, whose change
    makes what was kept worthless, beside the programs of `needs` and the host's packages. A file that holds one of the
    `volatile` words is compiled anew each time.
    """

    products: tuple[str, ...]
    watches: tuple[str, ...] = ()
    volatile: tuple[str, ...] = ()


class Waiting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the program of one step is started ahead of it (docs/warm.md).

    `command` replaces the step's own words, which it is then given as arguments but for the first; {work} there is the
    folder of the program's files. `cwd` is where it waits; without it, that folder. `env` is added while it waits, and
    {NAME} is the variable's own value. `cold` are beginnings of names of variables that are read before it waits: a run
    that sets one needs a fresh start.
    """

    command: tuple[str, ...] | None = None
    cwd: str | None = None
    env: dict[str, str] = {}
    cold: tuple[str, ...] = ()


class PythonPackage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Python package that carries the language, shown in boxes at `target`."""

    module: str
    target: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    source: str
    run: tuple[str, ...]
    needs: tuple[Need, ...]
    sample: Sample
    order: int = 100
    """Where the language stands in lists: the lowest first."""
    aliases: tuple[str, ...] = ()
    compile: tuple[str, ...] | None = None
    env: dict[str, str] = {}
    split: dict[str, str] = {}
    raises: dict[str, int] = {}
    binds: tuple[tuple[str, str], ...] = ()
    python_package: PythonPackage | None = None
    kernel: Driver | None = None
    compiled: Compiled | None = None
    prepare: tuple[str, ...] | None = None
    zygote: dict[Step, Waiting] = {}


class Plan(msgspec.Struct, frozen=True):
    """What to put into a box and run there: files by path, an optional compile step, the program, its variables."""

    files: dict[str, bytes]
    compile: tuple[str, ...] | None
    run: tuple[str, ...]
    env: dict[str, str]


class Toolchain(msgspec.Struct, frozen=True):
    """One language. `binds` are (host path, path in the box); `raises` limits it cannot live without; `prepare` is the
    command that makes files ahead for it (sandbox/prepared.py)."""

    id: str
    name: str
    aliases: tuple[str, ...]
    source: str
    compile: tuple[str, ...] | None
    run: tuple[str, ...]
    env: Mapping[str, str]
    binds: tuple[tuple[str, str], ...]
    needs: tuple[Need, ...]
    split: Mapping[str, str]
    raises: Mapping[str, int]
    sample: Sample
    kernel: Driver | None = None
    compiled: Compiled | None = None
    prepare: tuple[str, ...] | None = None
    zygotes: Mapping[Step, Waiting] = msgspec.field(default_factory=dict[Step, Waiting])

    @property
    def programs(self) -> tuple[str, ...]:
        """The host's own paths of what it needs."""
        return tuple(on_host(need.program, self.binds) for need in self.needs)

    def plan(self, files: Mapping[str, bytes], main: str | None, args: tuple[str, ...], mode: str) -> Plan:
        """How to run `files` ("" names the toolchain's own source file); `main` is the one to start.

        Without `main` it is the toolchain's own source name, or the only file. Raises BadRequest.
        """
        named = {path or self.source: data for path, data in files.items()}
        main = self.main(named, main)
        return Plan(
            files=named,
            compile=_fill(self.compile, main) if self.compile else None,
            run=(*_fill(self.run, main), *args),
            env=self.environment(mode),
        )

    def environment(self, mode: str) -> dict[str, str]:
        """The toolchain's own variables in a terminal mode."""
        return {**self.env, **(self.split if mode == "split" else {})}

    def words(self, step: Step) -> tuple[str, ...]:
        """The command of a step for a file of the toolchain's own name. Raises KeyError for a step it does not have."""
        words = self.run if step == "program" else self.compile
        if words is None:
            raise KeyError(step)
        return _fill(words, self.source)

    def main(self, named: Mapping[str, bytes], main: str | None) -> str:
        """Which of the files is to be run: `main`, the only one, or that of the toolchain's name. Raises BadRequest."""
        if main is None:
            main = next(iter(named)) if len(named) == 1 else self.source
        if main not in named:
            raise BadRequest(
                f"there is no file {main} to run" if named else "no files were given",
                hint=f"name it in `main`, one of: {', '.join(named)}" if named else "send `code` or `files`",
            )
        return main


class Toolchains(msgspec.Struct, frozen=True):
    """All languages by id; names and aliases find them too, in any case."""

    by_id: Mapping[str, Toolchain]
    _names: Mapping[str, str]

    def get(self, name: str) -> Toolchain:
        """Raises UnknownLanguage, whose hint lists the known ones."""
        try:
            return self.by_id[self._names[name.lower()]]
        except KeyError:
            raise UnknownLanguage(
                f"unknown language {name!r}", hint=f"known languages: {', '.join(self.by_id)}"
            ) from None

    def all(self) -> list[Toolchain]:
        return list(self.by_id.values())

    def for_file(self, path: Path) -> Toolchain:
        """The language of a file by its ending. Raises UnknownLanguage."""
        for toolchain in self.by_id.values():
            if path.suffix and path.suffix == PurePosixPath(toolchain.source).suffix:
                return toolchain
        raise UnknownLanguage(
            f"no language is known for {path.name}", hint=f"name one: --language {'|'.join(self.by_id)}"
        )

    def missing(self, toolchain: Toolchain) -> list[Need]:
        """What this host lacks of it."""
        return [need for need in toolchain.needs if not _present(need.program, toolchain.binds)]


def load(path: Path | None = None) -> Toolchains:
    """Every *.toml of a folder, by `order`, then by name. Raises ConfigError naming the file and the key."""
    by_id: dict[str, Toolchain] = {}
    names: dict[str, str] = {}
    read = [(file, _read(file)) for file in sorted((path or folder("toolchains")).glob("*.toml"))]
    for file, data in sorted(read, key=lambda pair: pair[1].order):
        binds = data.binds + (_package(data.python_package) if data.python_package else ())
        by_id[file.stem] = Toolchain(
            id=file.stem,
            name=data.name,
            aliases=data.aliases,
            source=data.source,
            compile=data.compile,
            run=data.run,
            env=data.env,
            binds=binds,
            needs=data.needs,
            split=data.split,
            raises=data.raises,
            sample=Sample(data.sample.code.lstrip("\n"), data.sample.input, data.sample.output),
            kernel=data.kernel,
            compiled=data.compiled,
            prepare=data.prepare,
            zygotes=data.zygote,
        )
        for name in (file.stem, data.name, *data.aliases):
            if names.setdefault(name.lower(), file.stem) != file.stem:
                raise ConfigError(f"{file}: the name {name} is {names[name.lower()]}'s already")
    return Toolchains(by_id, names)


def _read(file: Path) -> _File:
    try:
        data = msgspec.convert(tomllib.loads(file.read_text()), _File)
    except (msgspec.ValidationError, tomllib.TOMLDecodeError) as problem:
        raise ConfigError(f"{file}: {problem}") from None
    for product in data.compiled.products if data.compiled is not None else ():
        if not product.startswith("/tmp/"):
            raise ConfigError(f"{file}: compiled.products holds {product}: it must be below /tmp")
    return data


def _fill(words: tuple[str, ...], main: str) -> tuple[str, ...]:
    path = PurePosixPath(main)
    return tuple(word.replace("{main}", main).replace("{stem}", path.stem) for word in words)


def _package(package: PythonPackage) -> tuple[tuple[str, str], ...]:
    """Where the Python package lies, found without importing it; nothing when it is not installed."""
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        return ()
    return ((spec.submodule_search_locations[0], package.target),)


def _present(program: str, binds: tuple[tuple[str, str], ...]) -> bool:
    return shutil.which(on_host(program, binds)) is not None


def on_host(path: str, binds: Iterable[tuple[str, str]]) -> str:
    """Where a file of a box lies on the host."""
    for source, target in binds:
        if path.startswith(f"{target}/"):
            return str(Path(source) / path.removeprefix(f"{target}/"))
    return path
