import { describe, expect, it } from "vitest";
import type { Exit } from "../src/wire";
import { bytes, duration, outcomeInWords, succeeded, usageInWords } from "../src/words";

function exit(fields: Partial<Exit>): Exit {
  return {
    type: "exit",
    stream: 1,
    outcome: "exited",
    code: null,
    signal: null,
    message: "",
    usage: { cpu: 0.0123, memory: 10 * 1024 * 1024, wall: 2.5 },
    timings: {},
    ...fields,
  };
}

describe("outcomes", () => {
  it.each([
    [{ code: 0 }, "exited 0"],
    [{ code: 3 }, "exited 3"],
    [{ outcome: "signal", signal: "SEGV" }, "ended by SIGSEGV"],
    [{ outcome: "signal", signal: "SIGKILL" }, "ended by SIGKILL"],
    [{ outcome: "memory", message: "512 MiB" }, "ended: memory limit (512 MiB)"],
    [{ outcome: "wall" }, "ended: time limit"],
    [{ outcome: "killed" }, "stopped"],
    [{ outcome: "compile_error", code: 1 }, "did not compile"],
    [{ outcome: "failed", message: "no such program" }, "could not run (no such program)"],
    [{ outcome: "eclipse" }, "ended: eclipse"],
  ] as [Partial<Exit>, string][])("%j is %s", (fields, words) => {
    expect(outcomeInWords(exit(fields))).toBe(words);
  });

  it("only a plain exit 0 is a success", () => {
    expect(succeeded(exit({ code: 0 }))).toBe(true);
    expect(succeeded(exit({ code: 1 }))).toBe(false);
    expect(succeeded(exit({ outcome: "wall", code: 0 }))).toBe(false);
  });
});

describe("amounts", () => {
  it.each([
    [0, "0 ms"],
    [0.0123, "12 ms"],
    [0.9999, "1.00 s"],
    [9.994, "9.99 s"],
    [12.34, "12.3 s"],
    [59.96, "1 min 0 s"],
    [125, "2 min 5 s"],
  ])("%d s is %s", (seconds, words) => {
    expect(duration(seconds)).toBe(words);
  });

  it.each([
    [17, "17 B"],
    [1536, "1.5 KiB"],
    [1024 * 1024 - 1, "1.0 MiB"],
    [200 * 1024 * 1024, "200 MiB"],
    [3 * 1024 ** 3, "3.0 GiB"],
  ])("%d bytes are %s", (count, words) => {
    expect(bytes(count)).toBe(words);
  });

  it("tells the first output only when there was one", () => {
    expect(usageInWords(exit({}), 0.02)).toBe("CPU 12 ms · memory 10.0 MiB · time 2.50 s · first output after 20 ms");
    expect(usageInWords(exit({}), null)).toBe("CPU 12 ms · memory 10.0 MiB · time 2.50 s");
    expect(usageInWords(exit({ timings: { box: 1, compile: 3, program: 903 } }), 1.1)).toBe(
      "CPU 12 ms · memory 10.0 MiB · time 2.50 s · compiled in 900 ms · first output after 1.10 s",
    );
  });
});
