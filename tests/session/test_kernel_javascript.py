"""JavaScript's kernel."""

from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Outcome
from runnerd.session.viewer import Ended

from .kernels import client


async def test_declarations_last_and_may_be_repeated(host: Host) -> None:
    async with client(host, "javascript") as one:
        code = "const a = 1; let b = 2; class C { get d() { return 3 } }; function e() { return 4 }; var f = 5"
        assert await one.out(code) == ""
        assert await one.out(code) == ""
        assert await one.out("console.log(`${a + b} ${new C().d} ${e()} ${f}`)") == "3 3 4 5\n"
        assert await one.out("const a = 'new'; console.log(a)") == "new\n"
        seen, last = await one.run("const a = 1; const a = 2")
        assert last.code == 1
        assert b"SyntaxError: Identifier 'a' has already been declared" in seen.stderr
        assert await one.out("console.log(a)") == "new\n"


async def test_await_at_the_top(host: Host) -> None:
    async with client(host, "javascript") as one:
        await one.out("const wait = (ms) => new Promise((done) => setTimeout(done, ms, 'done'))")
        assert await one.out("const it = await wait(20); console.log(it)") == "done\n"
        assert await one.out("console.log(it)") == "done\n"
        seen, last = await one.run("await new Promise(() => 0)")
        assert (last.outcome, last.code) == (Outcome.EXITED, 13)
        assert seen.stderr == b"Warning: Detected unsettled top-level await\n"
        seen, last = await one.run("await wait(5); throw new TypeError('late')")
        assert (last.code, b"TypeError: late" in seen.stderr) == (1, True)


async def test_a_run_ends_when_nothing_is_left_to_do(host: Host) -> None:
    async with client(host, "javascript") as one:
        assert await one.out("setTimeout(() => console.log('timer'), 50); console.log('main')") == "main\ntimer\n"
        assert await one.out("setInterval(() => 0, 10).unref()") == ""
        assert (
            await one.out(
                "wait(10).then(() => console.log('then'))\n"
                "function wait(ms) { return new Promise((d) => setTimeout(d, ms)) }"
            )
            == "then\n"
        )
        serve = (
            "const net = require('net'); const server = net.createServer((s) => s.end('hi')).listen(8000, () =>\n"
            "net.connect(8000).on('data', (d) => { console.log(String(d)); server.close() }))"
        )
        assert await one.out(serve) == "hi\n"
        assert await one.out("process.exitCode = 0; queueMicrotask(() => console.log('micro'))") == "micro\n"
        _, last = await one.run("process.exitCode = 9")
        assert last.code == 9
        assert (await one.run("1"))[1].code == 0


async def test_an_interrupt_takes_along_what_the_run_left_open(host: Host) -> None:
    serve = (
        "require('http').createServer(() => 0).listen(8000, () => console.log('up'))\n"
        "setInterval(() => console.log('tick'), 20)"
    )
    async with client(host, "javascript") as one:
        for _ in range(2):  # the port is free again
            session, seen = await one.begin(serve)
            await seen.until_output(b"up\ntick")
            await session.signal("INT")
            assert (await seen.until(Ended)).signal == "INT"
        assert await one.out("console.log('quiet')") == "quiet\n"


async def test_errors_are_printed_as_node_prints_them(host: Host) -> None:
    async with client(host, "javascript") as one:
        await one.out("function fail() {\n  null.x\n}")
        for code in ("fail()", "setTimeout(fail, 1)", "Promise.resolve().then(fail)", "(async () => fail())()"):
            seen, last = await one.run(code)
            text = seen.stderr.decode()
            assert (last.outcome, last.code) == (Outcome.EXITED, 1)
            assert text.startswith(
                "run-1.js:2\n  null.x\n       ^\n\nTypeError: Cannot read properties of null (reading 'x')\n    at "
            )
            assert "\n\nNode.js v" in text
            assert "kernel" not in text
            assert "inspector" not in text
        seen, _ = await one.run("x = 1\nif x")
        assert seen.stderr.decode().startswith("run-6.js:2\nif x\n   ^\n\nSyntaxError: Unexpected identifier 'x'")
        for thrown in ("5", "undefined", "null", "'text'", "10n", "Symbol('s')", "{ a: 1 }"):
            seen, last = await one.run(f"throw {thrown}")
            assert (last.code, seen.stderr.decode().splitlines()[0]) == (1, "Uncaught:"), thrown
        assert await one.out("try { null.x } catch (e) { console.log(e.stack) }") == (
            "TypeError: Cannot read properties of null (reading 'x')\n    at run-14.js:1:12\n"
        )


async def test_errors_that_code_handles(host: Host) -> None:
    async with client(host, "javascript") as one:
        own = (
            "process.once('uncaughtException', (e) => console.log('own', e.message))\n"
            "setTimeout(() => { throw new Error('x') }, 1)"
        )
        assert await one.out(own) == "own x\n"
        session, seen = await one.begin(
            "process.once('SIGINT', () => { console.log('own'); clearInterval(t) })\n"
            "const t = setInterval(() => console.log('up'), 50)"
        )
        await seen.until_output(b"up")
        await session.signal("INT")
        last = await seen.until(Ended)
        assert (last.outcome, last.code) == (Outcome.EXITED, 0)
        assert seen.stdout.endswith(b"up\nown\n")


async def test_many_interrupts_end_runs_only(host: Host) -> None:
    async with client(host, "javascript") as one:
        await one.out("let x = 1")
        waits = "setTimeout(() => console.log('go'), 5); await new Promise(() => setInterval(() => 0, 1000))"
        for code in ["console.log('go'); for (;;);", waits] * 10:
            session, seen = await one.begin(code)
            await seen.until_output(b"go")
            await session.signal("INT")
            last = await seen.until(Ended)
            assert (last.outcome, last.signal, last.message) == (Outcome.SIGNAL, "INT", "")
        assert await one.out("console.log('lives', String(x))") == "lives 1\n"


async def test_an_interrupt_in_the_middle_of_output_does_not_tear_it_for_later_runs(host: Host) -> None:
    async with client(host, "javascript") as one:
        for _ in range(10):
            session, seen = await one.begin("for (;;) console.log('flood')")
            await seen.until_output(b"flood")
            await session.signal("INT")
            assert (await seen.until(Ended)).signal == "INT"
            assert await one.out("console.log('whole'); console.error === 1") == "whole\n"


LATE = {
    "await": "await 1; console.log('go'); for (;;);",
    "import": "import fs from 'fs'\nconsole.log('go'); for (;;);",
    "timer": "setTimeout(() => { console.log('go'); for (;;); }, 5)",
    "promise": "await new Promise((done) => setTimeout(done, 5)); try { console.log('go'); for (;;); }\n"
    "finally { x = 0 }",
    "file": "require('fs').readFile('/etc/passwd', () => { console.log('go'); for (;;); })",
    "tick": "process.nextTick(() => { console.log('go'); for (;;); })",
    "microtask": "queueMicrotask(() => { console.log('go'); for (;;); })",
    "immediate": "setImmediate(() => { console.log('go'); for (;;); })",
    "event": "const e = new (require('events'))(); e.on('x', () => { console.log('go'); for (;;); }); "
    "setTimeout(() => e.emit('x'), 1)",
    "own handler": "var own = () => console.log('own'); process.on('SIGINT', own)\n"
    "setTimeout(() => { console.log('go'); for (;;); }, 5)",
}


async def test_an_interrupt_ends_what_computes_wherever_it_is(host: Host) -> None:
    async with client(host, "javascript") as one:
        await one.out("let x = 1; const wait = (ms) => new Promise((done) => setTimeout(done, ms))")
        for _ in range(3):
            for where, code in LATE.items():
                session, seen = await one.begin(code)
                await seen.until_output(b"go")
                await session.signal("INT")
                last = await seen.until(Ended)
                if where == "own handler":
                    assert (last.outcome, last.code, seen.stdout) == (Outcome.EXITED, 0, b"go\nown\n"), (
                        "nothing is left"
                    )
                    await one.out("setTimeout(() => process.off('SIGINT', own))")
                else:
                    assert (last.outcome, last.signal, last.message) == (Outcome.SIGNAL, "INT", ""), where
            assert await one.out("await wait(5); console.log(String(x))") == "1\n", "timers and variables are whole"
        session, seen = await one.begin("console.log('go'); for (;;);")
        await seen.until_output(b"go")
        await session.signal("INT")
        assert (await seen.until(Ended)).signal == "INT"


async def test_awaits_that_were_interrupted_are_not_told_when_they_are_collected(host: Host) -> None:
    """The inspector's word of it, amid the collection, would end node."""
    async with client(host, "javascript") as one:
        for _ in range(5):
            session, seen = await one.begin("setTimeout(() => console.log('go'), 5); await new Promise(() => 0)")
            await seen.until_output(b"go")
            await session.signal("INT")
            await seen.until(Ended)
        await one.out("let fill = []; for (let n = 0; n < 3e6; n++) fill[n % 1000] = new Promise(() => n)")


async def test_exit_from_callbacks_and_promises(host: Host) -> None:
    async with client(host, "javascript") as one:
        for code in (
            "setInterval(() => 0, 9); setTimeout(() => { process.exit(6); console.log('never') }, 5)",
            "await 1; process.exit(6); console.log('never')",
            "(async () => { await 1; process.exit(6) })().catch((e) => console.log('never', e))",
            "process.exitCode = 6; process.exit()",
        ):
            seen, last = await one.run(code)
            assert (last.outcome, last.code, seen.stdout, seen.stderr) == (Outcome.EXITED, 6, b"", b""), code
        assert await one.out("console.log('lives')") == "lives\n"


async def test_lines_of_input_are_asked_for_in_several_ways(host: Host) -> None:
    async with client(host, "javascript") as one:
        lines = (
            "const rl = require('readline').createInterface({ input: process.stdin })\n"
            "for await (const line of rl) console.log(`<${line}>`)"
        )
        assert await one.out(lines, stdin=b"a\nb") == "<a>\n<b>\n"
        session, seen = await one.begin(
            "const rl = require('readline/promises').createInterface(process.stdin, process.stdout)\n"
            "console.log(await rl.question('? ')); rl.close()"
        )
        await session.write(b"early\n")
        await seen.until(Ended)
        assert seen.stdout == b"? early\n"
        session, seen = await one.begin(lines)
        await session.write(b"c\n")
        await seen.until_output(b"<c>")
        session.close_input()
        assert (await seen.until(Ended)).outcome is Outcome.EXITED


async def test_modules(host: Host) -> None:
    async with client(host, "javascript") as one:
        assert (
            await one.out("console.log(__dirname, require('./m').n)", files={"m.js": b"exports.n = 'm'"}) == "/work m\n"
        )
        assert (
            await one.out(
                "const { n } = require('./e.mjs'); console.log(n)", files={"e.mjs": b"export const n = 'esm'"}
            )
            == "esm\n"
        )


FILES = {
    "m.mjs": b"export const n = 'm'; export default 'default'; export { n as 'a name' }; export let late = await 1",
    "c.cjs": b"exports.n = 'c'",
    "d.json": b'{"n": "json"}',
    "side.mjs": b"globalThis.side = (globalThis.side ?? 0) + 1",
}


async def test_import_statements(host: Host) -> None:
    code = """\
#!/usr/bin/env node
import fs, { readFileSync, existsSync as exists, } from "node:fs"; import * as path from 'path'
import whole, * as space from "./m.mjs"
import {
    n, // a comment
    default as again, "a name" as quoted, /* another */ late
} from "./m.mjs";
import { n as c } from "./c.cjs"
import data from "./d.json" with { type: "json" }
import "./side.mjs"
(function () { console.log(typeof fs.readFileSync, exists === fs.existsSync, path.basename("a/b")) })()
console.log(whole, space.n, n, again, quoted, late, c, data.n, side, readFileSync("./d.json").length)
"""
    async with client(host, "javascript") as one:
        said = "function true b\ndefault m m default m 1 c json 1 13\n"
        assert await one.out(code, files=FILES) == said
        assert await one.out(code) == said, "again, and over what the first run declared"
        assert await one.out("console.log(n, path.sep)") == "m /\n"
        assert await one.out("import { n } from './c.cjs'\nconsole.log(n)") == "c\n"


async def test_imports_that_are_expressions(host: Host) -> None:
    code = """\
const { n } = await import("./m.mjs"); const name = "./c.cjs"
const all = [await import(name), await import("./d.json", { with: { type: "json" } })]
const later = () => import ("fs")
console.log(n, all[0].n, all[1].default.n, typeof (await later()).readFileSync, `${(await import('./m.mjs')).n}`)
"""
    async with client(host, "javascript") as one:
        assert await one.out(code, files=FILES) == "m c json function m\n"
        assert await one.out("console.log(typeof (await later()).statSync)") == "function\n"


async def test_what_only_looks_like_an_import(host: Host) -> None:
    code = """\
// import a from "b"
/* import("c") */ const text = "import d from 'e'; import('f')" + 'import("g")' + `import("h") ${1} import i from "j"`
const object = { import(x) { return [x] }, i: { import: (x) => -x } }; class C { static import(x) { return x + 1 } }
const $import = (x) => x * 2; const expression = /import("k")/
console.log(text.length, object.import(1), object.i.import(2), C.import(3), $import(4), expression.source)
console.log(object?.import(5))
"""
    async with client(host, "javascript") as one:
        assert await one.out(code) == '72 [ 1 ] -2 4 8 import("k")\n[ 5 ]\n'


async def test_imports_that_fail(host: Host) -> None:
    async with client(host, "javascript") as one:
        await one.out("", files=FILES)
        for code, says in [
            (
                "import { nothing } from './m.mjs'",
                "SyntaxError: The requested module './m.mjs' does not provide an export",
            ),
            ("import x from 'no-such-package'", "Cannot find package 'no-such-package' imported from /work/main.js"),
            ("await import('./nothing.mjs')", "Cannot find module '/work/nothing.mjs' imported from /work/main.js"),
            ("import x frm 'y'", "SyntaxError: Cannot use import statement outside a module"),
            ("export const x = 1; import fs from 'fs'", "SyntaxError: Unexpected token 'export'"),
            ("import fs from 'fs'\nlet fs = 1", "SyntaxError: Identifier 'fs' has already been declared"),
        ]:
            seen, last = await one.run(code)
            assert (last.outcome, last.code) == (Outcome.EXITED, 1), code
            assert says in seen.stderr.decode(), seen.stderr.decode()
            assert b"kernel" not in seen.stderr
        seen, _ = await one.run("import {\n  sep\n} from 'path'\n\nnull.x")
        assert seen.stderr.decode().startswith("run-8.js:5\nnull.x\n     ^\n\nTypeError"), (
            "every line stays where it is"
        )
        assert await one.out("import('./nothing.mjs').catch((e) => console.log(e.code))") == "ERR_MODULE_NOT_FOUND\n"
