/**
 * A client of `runnerd.v1`: one connection, many runs. Knows nothing of the page.
 *
 * The connection is opened ahead of need and opened again when it breaks, after a growing pause. A run belongs to the
 * connection that started it: when that breaks, the run is lost.
 */

import { decode, encodeAuth, encodeControl, encodeInput, encodeStart, SUBPROTOCOL } from "./wire";
import type { Exit, Output, ServerError, ServerMessage, Start, Started, State } from "./wire";

export type Status = "connecting" | "open" | "offline";

export interface ClientEvents {
  status?(status: Status): void;
  /** An error that belongs to no run. */
  error?(error: ServerError): void;
  /** The key is wrong or was revoked: it is forgotten, and the next connection goes without one. */
  refused?(): void;
  /** The server is about to stop; what runs may go on for `seconds`. */
  draining?(seconds: number): void;
}

export interface RunEvents {
  started?(started: Started): void;
  output(output: Output): void;
  state?(state: State): void;
  skipped?(bytes: number): void;
  error(error: ServerError): void;
  /** Comes exactly once and last; null when the run was refused or lost, after an `error` that says why. */
  end(exit: Exit | null): void;
}

/** What the client uses of a WebSocket. */
export type Socket = Pick<
  WebSocket,
  "binaryType" | "readyState" | "send" | "close" | "onopen" | "onmessage" | "onclose"
>;

export interface ClientOptions {
  open?: (url: string, subprotocol: string) => Socket;
  /** Between 0 and 1; spreads the reconnects of many pages. */
  random?: () => number;
}

const OPEN = 1;
const UNAUTHORIZED = 4401;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
const PING_EVERY = 25_000;
const ANSWER_WITHIN = 10_000;

/** Milliseconds to wait before the connection attempt that follows `failures` failed ones. */
export function pause(failures: number, random: number): number {
  const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1));
  return longest * (0.5 + random / 2);
}

export class Run {
  hasStarted = false;

  constructor(
    readonly stream: number,
    public start: Start,
    readonly events: RunEvents,
    private readonly client: Client,
  ) {}

  input(data: string | Uint8Array): void {
    this.client.send(this, encodeInput(this.stream, data));
  }

  resize(rows: number, cols: number): void {
    this.start = { ...this.start, rows, cols };
    this.client.send(this, encodeControl("resize", this.stream, { rows, cols }));
  }

  /** `signal` is a name without SIG. */
  signal(signal: string): void {
    this.client.send(this, encodeControl("signal", this.stream, { signal }));
  }

  eof(): void {
    this.client.send(this, encodeControl("eof", this.stream));
  }

  /** A run that still waits for its connection ends at once. */
  kill(): void {
    this.client.kill(this);
  }
}

export class Client {
  status: Status = "offline";
  private socket: Socket | null = null;
  private readonly runs = new Map<number, Run>();
  private nextStream = 1;
  private key: string | null = null;
  private failures = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private keepalive: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly url: string,
    private readonly events: ClientEvents = {},
    private readonly options: ClientOptions = {},
  ) {}

  /** Opens the connection now unless it is open or being opened. */
  connect(): void {
    if (this.socket !== null) return;
    clearTimeout(this.retry);
    const open = this.options.open ?? ((url, subprotocol) => new WebSocket(url, subprotocol));
    const socket = open(this.url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.change("connecting");
    socket.onopen = () => {
      this.failures = 0;
      this.change("open");
      if (this.key !== null) socket.send(encodeAuth(this.key));
      for (const run of this.runs.values()) socket.send(encodeStart(run.stream, run.start));
      this.expectNothing();
    };
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
      this.expectNothing();
      const message = decode(event.data);
      if (message !== null) this.receive(message);
    };
    socket.onclose = (event) => this.closed(socket, event.reason, event.code);
  }

  /** Sends this key on every connection from now on, before anything else; null: none, on a new connection. */
  authenticate(key: string | null): void {
    const known = this.key !== null;
    this.key = key;
    if (this.socket?.readyState !== OPEN) this.connect();
    else if (key !== null) this.socket.send(encodeAuth(key));
    else if (known) this.socket.close();
  }

  /** Starts a program. Without a connection one is opened at once, and the run is lost if that fails. */
  run(start: Start, events: RunEvents): Run {
    const run = new Run(this.nextStream++, start, events, this);
    this.runs.set(run.stream, run);
    if (this.socket?.readyState === OPEN) this.socket.send(encodeStart(run.stream, start));
    else this.connect();
    return run;
  }

  /** Sends a frame of `run`, unless it is over. Frames for a run that waits for its connection are dropped. */
  send(run: Run, frame: string | Uint8Array<ArrayBuffer>): void {
    if (this.runs.get(run.stream) === run && this.socket?.readyState === OPEN) this.socket.send(frame);
  }

  kill(run: Run): void {
    if (this.runs.get(run.stream) !== run) return;
    if (this.socket?.readyState === OPEN) this.socket.send(encodeControl("kill", run.stream));
    else this.end(run);
  }

  private receive(message: ServerMessage): void {
    if (message.type === "pong") return;
    if (message.type === "draining") {
      this.events.draining?.(message.seconds);
      return;
    }
    if (message.type === "error" && message.stream === null) {
      this.events.error?.(message);
      return;
    }
    const run = message.stream === null ? undefined : this.runs.get(message.stream);
    if (run === undefined) return;
    switch (message.type) {
      case "output":
        run.events.output(message);
        break;
      case "started":
        run.hasStarted = true;
        run.events.started?.(message);
        break;
      case "state":
        run.events.state?.(message.state);
        break;
      case "skipped":
        run.events.skipped?.(message.bytes);
        break;
      case "exit":
        this.runs.delete(run.stream);
        run.events.end(message);
        break;
      case "error":
        // Before its start an error is a refusal, and no exit follows.
        run.events.error(message);
        if (!run.hasStarted) this.end(run);
    }
  }

  private end(run: Run): void {
    this.runs.delete(run.stream);
    run.events.end(null);
  }

  private closed(socket: Socket, reason: string, code?: number): void {
    if (this.socket !== socket) return;
    if (code === UNAUTHORIZED) {
      this.key = null;
      this.events.refused?.();
    }
    const wasOpen = this.status === "open";
    this.socket = null;
    clearTimeout(this.keepalive);
    this.failures += 1;
    // Scheduled before anyone is told, so that a listener that connects at once cancels it.
    this.retry = setTimeout(() => this.connect(), pause(this.failures, (this.options.random ?? Math.random)()));
    this.change("offline");
    const message = reason || (wasOpen ? "the connection was lost" : "the server cannot be reached");
    for (const run of [...this.runs.values()]) {
      run.events.error({
        type: "error",
        stream: run.stream,
        code: "disconnected",
        message,
        hint: "the page reconnects by itself; run the program again",
      });
      this.end(run);
    }
  }

  /** Restarts the clock that finds out about a connection that died silently. */
  private expectNothing(): void {
    clearTimeout(this.keepalive);
    this.keepalive = setTimeout(() => {
      const socket = this.socket;
      if (socket === null) return;
      socket.send(JSON.stringify({ type: "ping" }));
      this.keepalive = setTimeout(() => {
        socket.close();
        this.closed(socket, "the server does not answer");
      }, ANSWER_WITHIN);
    }, PING_EVERY);
  }

  private change(status: Status): void {
    this.status = status;
    this.events.status?.(status);
  }
}
