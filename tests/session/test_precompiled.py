"""C and C++ by what is prepared: faster, and not a byte of it different.

Each program is compiled and run with what is prepared and without, and all that it and the compiler do is compared.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from msgspec.structs import replace

from runnerd import toolchains
from runnerd.config import Config
from runnerd.sandbox.host import Host
from runnerd.sandbox.prepare import prepare
from runnerd.sandbox.prepared import Manifest, Prepared
from runnerd.sandbox.spec import Mode, Window
from runnerd.session.output import Chunk
from runnerd.session.registry import Registry
from runnerd.session.run import Run
from runnerd.session.viewer import Ended

LANGUAGES = toolchains.load()
CPP, C = LANGUAGES.get("cpp"), LANGUAGES.get("c")
PATIENCE = 120.0

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(bool(LANGUAGES.missing(CPP)), reason="no g++ on this host"),
]

IOSTREAM, VECTOR, ALL = "#include <iostream>\n", "#include <vector>\n", "#include <bits/stdc++.h>\n"
MAIN = "int main() { std::cout << 42 << std::endl; }\n"

SILENT = {
    "hello": IOSTREAM + MAIN,
    "all": ALL + 'using namespace std;\nint main() { map<string, int> m{{"b", 2}, {"a", 1}}; for (auto &[k, v] : m)'
    " cout << k << v << endl; vector<int> v{3, 1, 2}; sort(v.begin(), v.end()); cout << v[0] << endl; return 7; }\n",
    "comment first": "// one\n/* two\n */\n" + IOSTREAM + MAIN,
    "another first": VECTOR + IOSTREAM + MAIN,
    "twice": IOSTREAM + IOSTREAM + ALL + MAIN,
    "code first": "int before = 1;\n" + IOSTREAM + MAIN,
    "private public": "#define private public\n" + IOSTREAM + "#include <string>\nstruct A { private: int x = 5; };\n"
    "int main() { std::cout << A().x; }\n",
    "debug mode": "#define _GLIBCXX_DEBUG\n" + IOSTREAM + VECTOR + "int main() { std::vector<int> v; return v[3]; }\n",
    "assertions": "#define _GLIBCXX_ASSERTIONS 1\n"
    + IOSTREAM
    + VECTOR
    + "int main() { return std::vector<int>()[3]; }\n",
    "no assert": "#define NDEBUG\n" + IOSTREAM + "#include <cassert>\nint main() { assert(false); std::cout << 1; }\n",
    "with assert": IOSTREAM + "#include <cassert>\nint main() { assert(false); }\n",
    "undefined": "#undef __GNUC_MINOR__\n#undef _GNU_SOURCE\n" + IOSTREAM + MAIN,
    "optimise": '#pragma GCC optimize("O3,unroll-loops")\n#pragma GCC target("sse4.2")\n' + IOSTREAM + MAIN,
    "counter": IOSTREAM
    + "int main() { std::cout << __COUNTER__ << __COUNTER__ << __LINE__ << __FILE__ << __INCLUDE_LEVEL__"
    " << __BASE_FILE__; }\n",
    "has include": "#if __has_include(<iostream>) && !__has_include(<nosuch>)\n" + IOSTREAM + "#endif\n" + MAIN,
    "exception": IOSTREAM + "#include <stdexcept>\nint main() { try { throw std::runtime_error(__func__); }"
    " catch (std::exception &e) { std::cerr << e.what(); } std::terminate(); }\n",
    "thread": IOSTREAM + "#include <thread>\nint main() { std::thread([] { std::cout << 1; }).join(); return 1; }\n",
    "reads": IOSTREAM + "int main() { std::string s; while (std::cin >> s) std::cout << s.size(); }\n",
    "C": '#include <stdio.h>\nint main() { puts("c"); }\n',
    "no include": "int main() { return 3; }\n",
}
"""What the compiler has nothing to say of."""

SAYS = {
    "undeclared": IOSTREAM + "int main() { std::cout << nothing; }\n",
    "template": IOSTREAM + "struct X {};\nint main() { X x; std::cout << x; }\n",
    "deep template": ALL + "struct X {};\nint main() { std::set<X> s; s.insert(X()); }\n",
    "included later": "\n\n/* so many lines */\n" + IOSTREAM + "#include <variant>\nint main() { std::variant<int> v;"
    " std::get<2>(v); }\n",
    "warnings": IOSTREAM + "int main() { int unused; unsigned a = 1; int b = -1; if (a < b) std::cout << 1; }\n",
    "warning and run": IOSTREAM + "int &f() { int x = 1; return x; }\nint main() { std::cout << 1; return &f != 0; }\n",
    "deprecated": IOSTREAM + "#include <memory>\nint main() { std::auto_ptr<int> p; std::cout << 1; }\n",
    "defined": "#define endl 3\n#define max 4\n" + IOSTREAM + MAIN,
    "poison": "#pragma GCC poison printf\n" + IOSTREAM + MAIN,
    "directives": "#warning early\n" + IOSTREAM + "#warning late\n" + MAIN,
    "error directive": IOSTREAM + "#error no\n",
    "missing header": IOSTREAM + '#include "nosuch.h"\n',
    "undefined reference": IOSTREAM + "void f();\nint main() { f(); }\n",
    "dangerous": IOSTREAM + "#include <cstdio>\nint main() { char b[L_tmpnam]; return std::tmpnam(b) == b; }\n",
    "no main": IOSTREAM,
    "unterminated": IOSTREAM + 'int main() { std::cout << "abc; }\n',
    "in a header, second": VECTOR + IOSTREAM + "struct X {};\nint main() { std::cout << X(); }\n",
    "in a header, twice": IOSTREAM + IOSTREAM + "struct X {};\nint main() { std::cout << X(); }\n",
    "concept": IOSTREAM + "#include <concepts>\ntemplate<std::integral T> T f(T t) { return t; }\n"
    "int main() { std::cout << f(1.5); }\n",
    "hint": IOSTREAM + "int main() { std::cuot << 1; std::string s; s.lenght(); }\n",
    "named like it": IOSTREAM + 'int main() { int runnerd_prepared; std::cout << "/tmp/cc"; }\n',
    "not UTF-8": IOSTREAM + "int main() { int x\\udcff\0; }\n",
}
"""What it has something to say of."""

STDIO = "#include <stdio.h>\n"
OF_C = {
    "hello": STDIO + 'int main(void) { puts("hello"); return 4; }\n',
    "mathematics": STDIO + '#include <math.h>\nint main(int n, char **_) { printf("%f", sin(n) + pow(n, .5)); }\n',
    "threads": "#include <pthread.h>\nvoid *f(void *p) { return p; }\nint main(void) { pthread_t t;"
    " pthread_create(&t, 0, f, 0); return pthread_join(t, 0); }\n",
    "assembler": 'int main(void) { int x; __asm__("mov $5, %0" : "=r"(x)); return x; }\n',
    "crash": "int main(void) { *(volatile int *)0 = 1; }\n",
    "sections": 'char text[] __attribute__((section("mine"))) = "x"; extern char __start_mine[];\n'
    "int main(void) { return __start_mine[0]; }\n",
    "common": "int x; extern int x; int main(void) { return x; }\n",
    "dated": STDIO + 'int main(void) { puts(__FILE__); printf("%zu", sizeof __DATE__); }\n',
    "warning": "int main(void) { int unused; }\n",
    "error": "int main(void) { return nothing; }\n",
    "undefined reference": "int f(void);\nint main(void) { return f(); }\n",
    "twice": 'int f(void) { return 1; }\n__asm__(".globl f\\nf: ret");\nint main(void) { return f(); }\n',
    "bad assembler": 'int main(void) { __asm__("bogus %eax"); }\n',
    "assembler warns": 'int main(void) { __asm__(".warning \\"careful\\""); }\n',
    "dangerous": STDIO + "int main(void) { char b[L_tmpnam]; return tmpnam(b) == b; }\n",
    "no main": "int f(void) { return 1; }\n",
    "missing header": '#include "nosuch.h"\n',
}
"""Silent ones and others."""

COLOURED = ("undeclared", "template", "warnings", "deprecated", "undefined reference", "hint", "not UTF-8")
"""Those that are tried in a terminal as well, where the compiler uses colours and looks at the width."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, host: Host) -> Path:
    base = tmp_path_factory.mktemp("prepared")
    for toolchain in (CPP, C):
        trio.run(prepare, host, toolchain, base)
    return base


@asynccontextmanager
async def registering(host: Host, base: Path | None) -> AsyncGenerator[Registry]:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            prepared = Prepared(base) if base is not None else Prepared()
            yield Registry(replace(host, prepared=prepared), LANGUAGES, Config(), nursery)


Told = tuple[str, int | None, str | None, bytes, bytes]


async def finish(registry: Registry, run: Run) -> Told:
    """How it ended and what was written, but for random names and addresses."""
    viewer = (await registry.start(run)).viewer()
    written = {"stdout": b"", "stderr": b""}
    while not isinstance(event := await viewer.next(), Ended):
        if isinstance(event, Chunk):
            written[event.channel] += event.data
    out, err = (re.sub(rb"/tmp/cc\w+\.[os]|0x\w+", b"RANDOM", written[each]) for each in ("stdout", "stderr"))
    return event.outcome.value, event.code, event.signal, out, err


async def both(host: Host, base: Path, run: Run) -> tuple[Told, Told]:
    """With what is prepared, and without."""
    told: dict[Path | None, Told] = {}

    async def one(place: Path | None) -> None:
        async with registering(host, place) as registry:
            told[place] = await finish(registry, run)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, base)
        nursery.start_soon(one, None)
    return told[base], told[None]


@pytest.mark.parametrize("name", SILENT)
async def test_programs_are_the_same(host: Host, base: Path, name: str) -> None:
    run = Run("cpp", {"": SILENT[name].encode()}, mode="pipes", stdin=b"one three")
    fast, plain = await both(host, base, run)
    assert fast == plain
    assert plain[0] in ("exited", "signal")


@pytest.mark.parametrize(
    ("name", "mode"), [*((name, "pipes") for name in SAYS), *((name, "terminal") for name in COLOURED)]
)
async def test_words_of_the_compiler_are_the_same(host: Host, base: Path, name: str, mode: Mode) -> None:
    code = SAYS[name].encode("utf-8", "surrogateescape")
    fast, plain = await both(host, base, Run("cpp", {"": code}, mode=mode, window=Window(24, 60)))
    assert fast == plain
    assert plain[3] + plain[4]


@pytest.mark.parametrize("mode", ["pipes", "terminal"])
@pytest.mark.parametrize("name", OF_C)
async def test_c_is_the_same(host: Host, base: Path, name: str, mode: Mode) -> None:
    fast, plain = await both(host, base, Run("c", {"": OF_C[name].encode()}, mode=mode, window=Window(24, 60)))
    assert fast == plain


async def test_c_is_linked_by_the_faster_linker(host: Host, base: Path) -> None:
    """Without this, all of the above could hold of what is not used."""
    code = OF_C["hello"].encode()
    async with registering(host, base) as registry:
        look = ("sh", "-c", "sh /opt/runnerd/support/gcc gcc -o x main.c && readelf -p .note.gnu.gold-version x")
        told = await finish(registry, Run("c", {"main.c": code}, argv=look, mode="pipes"))
    assert b"gold" in told[3]


@pytest.mark.parametrize(("code", "needed"), [("sqrt(c)", True), ("c", False)])
async def test_c_is_linked_with_libm_where_it_needs_it(host: Host, base: Path, code: str, needed: bool) -> None:
    source = f"#include <math.h>\nint main(int c, char **v) {{ return {code}; }}\n".encode()
    async with registering(host, base) as registry:
        look = ("sh", "-c", "sh /opt/runnerd/support/gcc gcc -o x main.c -lm && readelf -d x")
        told = await finish(registry, Run("c", {"main.c": source}, argv=look, mode="pipes"))
    assert b"libc.so.6" in told[3]
    assert (b"libm.so.6" in told[3]) == needed


def test_all_that_it_was_made_of_is_watched(base: Path) -> None:
    found = Prepared(base).find(CPP)
    assert found is not None
    inputs = msgspec.json.decode((found / "manifest.json").read_bytes(), type=Manifest).inputs
    assert all(size >= 0 for path, (size, _) in inputs.items() if path != "/usr/local/include")
    names = {path.rpartition("/")[2] for path in inputs}
    assert {"g++", "cc1plus", "iostream", "stdc++.h", "stdio.h", "regex.tcc"} <= names


async def test_files_of_several_names(host: Host, base: Path) -> None:
    files = {"a/b.cpp": (ALL + '#include "h.hpp"\nint main() { return f(std::string("abc")); }\n').encode()}
    files["a/h.hpp"] = b"#include <iostream>\ninline int f(std::string s) { return s.size(); }\n"
    fast, plain = await both(host, base, Run("cpp", files, main="a/b.cpp", mode="pipes"))
    assert fast == plain == ("exited", 3, None, b"", b"")


async def test_it_is_used_and_leaves_nothing_behind(host: Host, base: Path) -> None:
    """Without this, all of the above could hold of a folder that the compiler does not look at."""
    async with registering(host, base) as registry:
        look = ("sh", "-c", "echo '#include <iostream>' > x.cpp; g++ -std=gnu++20 -O1 -B/opt/prepared/ -H -S x.cpp")
        told = await finish(registry, Run("cpp", argv=look, mode="pipes"))
        assert told[4].startswith(b"! /opt/prepared/include/iostream.gch\n")
        code = (
            IOSTREAM + '#include <filesystem>\nint main() { for (auto &e : std::filesystem::directory_iterator("/tmp"))'
        )
        code += " std::cout << e.path(); }"
        assert (await finish(registry, Run("cpp", {"": code.encode()}, mode="pipes")))[3] == b'"/tmp/program"'


async def test_ctrl_c_ends_it_as_it_ends_a_compiler(host: Host, base: Path) -> None:
    slow = b"#include <iostream>\ntemplate<int N> struct F { static constexpr long v = F<N - 1>::v + F<N - 2>::v; };\n"
    slow += b"template<int N, int M> constexpr int g() { int s = 0; for (long i = 0; i < 100000000; i++) s += i % M;"
    slow += b" return s; }\nint main() { constexpr int x = g<1, 3>(); }\n"
    for place in (base, None):
        async with registering(host, place) as registry:
            session = await registry.start(Run("cpp", {"": slow}))
            await session.signal("INT")
            viewer = session.viewer()
            while not isinstance(event := await viewer.next(), Ended):
                pass
            assert (event.outcome.value, event.signal) == ("compile_error", "INT")
