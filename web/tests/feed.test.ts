import { describe, expect, it } from "vitest";
import { Feed } from "../src/feed";

function subject(ahead: number, keep: number) {
  const log: string[] = [];
  const parsed: (() => void)[] = [];
  const feed = new Feed(
    (data, done) => {
      log.push(new TextDecoder().decode(data));
      parsed.push(done);
    },
    (bytes) => log.push(`skipped ${bytes}`),
    ahead,
    keep,
  );
  const push = (text: string): void => feed.push(new TextEncoder().encode(text));
  return { feed, log, push, parse: () => parsed.shift()?.() };
}

describe("the feed", () => {
  it("hands over at once while the terminal keeps up", () => {
    const { log, push } = subject(10, 100);
    push("a");
    push("b");
    expect(log).toEqual(["a", "b"]);
  });

  it("holds back what the terminal has not room for, in order", () => {
    const { log, push, parse } = subject(2, 100);
    for (const text of ["aa", "bb", "cc"]) push(text);
    expect(log).toEqual(["aa"]);
    parse();
    parse();
    expect(log).toEqual(["aa", "bb", "cc"]);
  });

  it("drops the oldest beyond its room, and says how much", () => {
    const { log, push, parse } = subject(2, 4);
    for (const text of ["aa", "bb", "cc", "dd", "ee"]) push(text);
    parse();
    expect(log).toEqual(["aa", "skipped 4", "dd"]);
    parse();
    expect(log).toEqual(["aa", "skipped 4", "dd", "ee"]);
  });

  it("tells when all was handed over", () => {
    const { feed, log, push, parse } = subject(2, 100);
    feed.drained(() => log.push("empty"));
    push("aa");
    push("bb");
    feed.drained(() => log.push("end"));
    expect(log).toEqual(["empty", "aa"]);
    parse();
    expect(log).toEqual(["empty", "aa", "bb", "end"]);
  });

  it("forgets what waits", () => {
    const { feed, log, push, parse } = subject(2, 100);
    push("aa");
    push("bb");
    feed.drained(() => log.push("end"));
    feed.clear();
    parse();
    push("cc");
    expect(log).toEqual(["aa", "cc"]);
  });
});
