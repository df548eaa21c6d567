import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Client, pause } from "../src/client";
import type { RunEvents, Socket, Status } from "../src/client";
import type { Exit, ServerError } from "../src/wire";

class FakeSocket {
  binaryType: BinaryType = "blob";
  readyState = 0;
  sent: (string | Uint8Array)[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string | ArrayBuffer }) => void) | null = null;
  onclose: ((event: { reason: string; code?: number }) => void) | null = null;

  send(frame: string | Uint8Array): void {
    if (this.readyState !== 1) throw new Error("InvalidStateError");
    this.sent.push(frame);
  }

  close(): void {
    this.readyState = 2;
  }

  accept(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  tell(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  drop(reason = "", code = 1006): void {
    this.readyState = 3;
    this.onclose?.({ reason, code });
  }

  get types(): unknown[] {
    return this.sent.filter((each) => typeof each === "string").map((each) => (JSON.parse(each) as { type: string }).type);
  }
}

const START = { language: "python", code: "1", rows: 24, cols: 80 };
const EXIT = { type: "exit", stream: 1, outcome: "exited", code: 0, signal: null, usage: {}, timings: {} };

let sockets: FakeSocket[];
let statuses: Status[];

function client(): Client {
  return new Client(
    "ws://host/api",
    { status: (status) => statuses.push(status) },
    {
      random: () => 1,
      open: () => {
        const socket = new FakeSocket();
        sockets.push(socket);
        return socket as unknown as Socket;
      },
    },
  );
}

function recorder(): { events: RunEvents; log: string[]; errors: ServerError[]; exits: (Exit | null)[] } {
  const log: string[] = [];
  const errors: ServerError[] = [];
  const exits: (Exit | null)[] = [];
  return {
    log,
    errors,
    exits,
    events: {
      started: () => log.push("started"),
      output: ({ data }) => log.push(new TextDecoder().decode(data)),
      state: (state) => log.push(state),
      error: (error) => errors.push(error),
      end: (exit) => exits.push(exit),
    },
  };
}

function last(): FakeSocket {
  const socket = sockets.at(-1);
  if (socket === undefined) throw new Error("no connection was opened");
  return socket;
}

beforeEach(() => {
  vi.useFakeTimers();
  sockets = [];
  statuses = [];
});

afterEach(() => {
  vi.useRealTimers();
});

describe("a run", () => {
  it("goes from start to exit, and hears only of its own stream", () => {
    const subject = client();
    subject.connect();
    last().accept();
    const one = recorder();
    const two = recorder();
    subject.run(START, one.events);
    subject.run(START, two.events);
    const output = Uint8Array.of(1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x68, 0x69);
    last().tell({ type: "started", stream: 1, session: "s" });
    last().onmessage?.({ data: output.buffer });
    last().tell({ type: "state", stream: 1, state: "waiting" });
    last().tell(EXIT);
    expect(one.log).toEqual(["started", "hi", "waiting"]);
    expect(one.exits).toEqual([expect.objectContaining({ outcome: "exited", code: 0 })]);
    expect(two.log).toEqual([]);
    expect(two.exits).toEqual([]);
  });

  it("waits for a connection that is being opened, and sends nothing before its start", () => {
    const subject = client();
    const run = subject.run(START, recorder().events);
    run.input("early");
    last().accept();
    run.input("x");
    expect(last().types).toEqual(["start"]);
    expect(last().sent[1]).toEqual(Uint8Array.of(0, 0, 0, 0, 1, 0x78));
  });

  it("starts with the window as it is by then, and not at all when it was killed before", () => {
    const subject = client();
    subject.run(START, recorder().events).resize(30, 90);
    const { events, exits } = recorder();
    subject.run(START, events).kill();
    expect(exits).toEqual([null]);
    last().accept();
    expect(last().sent.map((each) => JSON.parse(String(each)))).toEqual([
      expect.objectContaining({ type: "start", stream: 1, rows: 30, cols: 90 }),
    ]);
  });

  it("sends nothing after its end", () => {
    const subject = client();
    subject.connect();
    last().accept();
    const run = subject.run(START, recorder().events);
    last().tell(EXIT);
    run.kill();
    run.resize(1, 2);
    expect(last().types).toEqual(["start"]);
  });

  it("ends when its start is refused", () => {
    const subject = client();
    subject.connect();
    last().accept();
    const { events, errors, exits } = recorder();
    subject.run(START, events);
    last().tell({ type: "error", stream: 1, code: "busy", message: "full", hint: "try again in 5 s" });
    expect(errors).toMatchObject([{ code: "busy", hint: "try again in 5 s" }]);
    expect(exits).toEqual([null]);
  });

  it("goes on after an error of one of its requests", () => {
    const subject = client();
    subject.connect();
    last().accept();
    const { events, errors, exits } = recorder();
    subject.run(START, events);
    last().tell({ type: "started", stream: 1 });
    last().tell({ type: "error", stream: 1, code: "bad_request", message: "no such signal" });
    expect(errors).toHaveLength(1);
    expect(exits).toEqual([]);
  });

  it("is lost with its connection, and told so once", () => {
    const subject = client();
    subject.connect();
    last().accept();
    const { events, errors, exits } = recorder();
    subject.run(START, events);
    last().drop();
    last().drop();
    expect(errors).toMatchObject([{ code: "disconnected", message: "the connection was lost" }]);
    expect(exits).toEqual([null]);
  });

  it("is lost when no connection can be made, with the server's reason when there is one", () => {
    const subject = client();
    const { events, errors } = recorder();
    subject.run(START, events);
    last().drop();
    expect(errors).toMatchObject([{ message: "the server cannot be reached" }]);
    subject.run(START, events);
    last().drop("too many connections");
    expect(errors).toMatchObject([{}, { message: "too many connections" }]);
  });
});

describe("the connection", () => {
  it("comes back after pauses that grow to a limit, and shrink after a success", () => {
    expect([1, 2, 3, 6, 50].map((failures) => pause(failures, 1))).toEqual([500, 1000, 2000, 15_000, 15_000]);
    expect(pause(1, 0)).toBe(250);

    client().connect();
    last().drop();
    vi.advanceTimersByTime(499);
    expect(sockets).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(sockets).toHaveLength(2);
    last().drop();
    vi.advanceTimersByTime(999);
    expect(sockets).toHaveLength(2);
    vi.advanceTimersByTime(1);
    expect(sockets).toHaveLength(3);
    last().accept();
    last().drop();
    vi.advanceTimersByTime(500);
    expect(sockets).toHaveLength(4);
    expect(statuses).toEqual([
      "connecting",
      "offline",
      "connecting",
      "offline",
      "connecting",
      "open",
      "offline",
      "connecting",
    ]);
  });

  it("is opened at once, and once, for a run in a pause", () => {
    const subject = client();
    subject.connect();
    last().drop();
    subject.run(START, recorder().events);
    expect(sockets).toHaveLength(2);
    last().accept();
    vi.advanceTimersByTime(20_000);
    expect(sockets).toHaveLength(2);
    expect(last().types).toEqual(["start"]);
  });

  it("is asked for an answer when silent, and given up without one", () => {
    client().connect();
    const first = last();
    first.accept();
    vi.advanceTimersByTime(25_000);
    expect(first.types).toEqual(["ping"]);
    first.tell({ type: "pong" });
    vi.advanceTimersByTime(25_000);
    expect(first.types).toEqual(["ping", "ping"]);
    expect(statuses.at(-1)).toBe("open");
    vi.advanceTimersByTime(10_000);
    expect(first.readyState).toBe(2);
    expect(statuses.at(-1)).toBe("offline");
    vi.advanceTimersByTime(500);
    expect(sockets).toHaveLength(2);
    first.drop();
    expect(statuses.at(-1)).toBe("connecting");
  });

  it("passes on what belongs to no run", () => {
    const errors: ServerError[] = [];
    const draining: number[] = [];
    const subject = new Client(
      "ws://host/api",
      { error: (error) => errors.push(error), draining: (seconds) => draining.push(seconds) },
      {
        open: () => {
          const socket = new FakeSocket();
          sockets.push(socket);
          return socket as unknown as Socket;
        },
      },
    );
    subject.connect();
    last().accept();
    last().tell({ type: "error", stream: null, code: "bad_request", message: "what?" });
    last().tell({ type: "draining", seconds: 30 });
    expect(errors).toMatchObject([{ message: "what?" }]);
    expect(draining).toEqual([30]);
  });

  it("sends its key before anything else, on every connection", () => {
    const subject = client();
    subject.authenticate("secret");
    subject.run(START, recorder().events);
    last().accept();
    expect(last().types).toEqual(["auth", "start"]);
    expect(JSON.parse(last().sent[0] as string)).toEqual({ type: "auth", key: "secret" });
    last().drop();
    vi.advanceTimersByTime(500);
    last().accept();
    expect(last().types).toEqual(["auth"]);
    subject.authenticate("other");
    expect(JSON.parse(last().sent[1] as string)).toEqual({ type: "auth", key: "other" });
    subject.authenticate(null);
    expect(last().readyState).toBe(2);
  });

  it("forgets a key that is refused", () => {
    let refusals = 0;
    const subject = new Client(
      "ws://host/api",
      { refused: () => refusals++ },
      {
        random: () => 1,
        open: () => {
          const socket = new FakeSocket();
          sockets.push(socket);
          return socket as unknown as Socket;
        },
      },
    );
    subject.authenticate("secret");
    last().accept();
    last().drop("", 1001);
    expect(refusals).toBe(0);
    vi.advanceTimersByTime(500);
    last().accept();
    last().drop("the key is not known", 4401);
    expect(refusals).toBe(1);
    vi.advanceTimersByTime(1000);
    last().accept();
    expect(last().types).toEqual([]);
  });
});
