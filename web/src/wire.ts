/** Frames of the protocol `runnerd.v1`: JSON text for control, binary for terminal bytes. Pure. */

export const SUBPROTOCOL = "runnerd.v1";

export type Channel = "stdout" | "stderr";
export type State = "created" | "running" | "waiting" | "finished" | "terminated";

export interface Start {
  language: string;
  code: string;
  rows: number;
  cols: number;
}

export interface Started {
  type: "started";
  stream: number;
  session: string;
  /** Milliseconds since the server was asked. */
  timings: Record<string, number>;
}

export interface Output {
  type: "output";
  stream: number;
  channel: Channel;
  /** Bytes of output that came before these, both channels together. */
  offset: number;
  data: Uint8Array;
}

export interface StateChange {
  type: "state";
  stream: number;
  state: State;
}

/** Output that is left out, since the client was behind when the program was interrupted. */
export interface Skipped {
  type: "skipped";
  stream: number;
  bytes: number;
}

export interface Exit {
  type: "exit";
  stream: number;
  /** One of the outcomes of docs/protocol.md; an unknown one is shown as it is. */
  outcome: string;
  code: number | null;
  signal: string | null;
  message: string;
  /** Seconds, bytes, seconds. */
  usage: { cpu: number; memory: number; wall: number };
  timings: Record<string, number>;
}

export interface ServerError {
  type: "error";
  /** Null: about the whole connection. */
  stream: number | null;
  code: string;
  message: string;
  hint: string;
}

export interface Draining {
  type: "draining";
  seconds: number;
}

export interface Pong {
  type: "pong";
}

export type ServerMessage = Started | Output | StateChange | Skipped | Exit | ServerError | Draining | Pong;

const HEADER_IN = 13;
const HEADER_OUT = 5;
const INPUT = 0;
const CHANNELS: Record<number, Channel> = { 1: "stdout", 2: "stderr" };

const encoder = new TextEncoder();

export function encodeStart(stream: number, start: Start): string {
  return JSON.stringify({ type: "start", stream, mode: "terminal", ...start });
}

/** Comes before anything else on a connection. */
export function encodeAuth(key: string): string {
  return JSON.stringify({ type: "auth", key });
}

/** A control message about one stream: `eof`, `resize`, `signal`, `kill`. */
export function encodeControl(type: string, stream: number, fields: Record<string, unknown> = {}): string {
  return JSON.stringify({ type, stream, ...fields });
}

export function encodeInput(stream: number, data: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = typeof data === "string" ? encoder.encode(data) : data;
  const frame = new Uint8Array(HEADER_OUT + bytes.length);
  frame[0] = INPUT;
  new DataView(frame.buffer).setUint32(1, stream);
  frame.set(bytes, HEADER_OUT);
  return frame;
}

/** Null for a frame of a kind that this page does not know: a newer server may send some. */
export function decode(frame: string | ArrayBuffer): ServerMessage | null {
  return typeof frame === "string" ? decodeControl(frame) : decodeOutput(frame);
}

function decodeOutput(frame: ArrayBuffer): Output | null {
  if (frame.byteLength < HEADER_IN) return null;
  const view = new DataView(frame);
  const channel = CHANNELS[view.getUint8(0)];
  if (channel === undefined) return null;
  return {
    type: "output",
    channel,
    stream: view.getUint32(1),
    offset: Number(view.getBigUint64(5)),
    data: new Uint8Array(frame, HEADER_IN),
  };
}

function decodeControl(text: string): ServerMessage | null {
  let fields: Record<string, unknown>;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return null;
    fields = value as Record<string, unknown>;
  } catch {
    return null;
  }
  const stream = typeof fields.stream === "number" ? fields.stream : null;
  if (fields.type === "error") {
    return {
      type: "error",
      stream,
      code: asText(fields.code),
      message: asText(fields.message),
      hint: asText(fields.hint),
    };
  }
  if (fields.type === "draining") return { type: "draining", seconds: asNumber(fields.seconds) };
  if (fields.type === "pong") return { type: "pong" };
  if (stream === null) return null;
  switch (fields.type) {
    case "started":
      return { type: "started", stream, session: asText(fields.session), timings: asNumbers(fields.timings) };
    case "state":
      return { type: "state", stream, state: asText(fields.state) as State };
    case "skipped":
      return { type: "skipped", stream, bytes: asNumber(fields.bytes) };
    case "exit": {
      const usage = asNumbers(fields.usage);
      return {
        type: "exit",
        stream,
        outcome: asText(fields.outcome),
        code: typeof fields.code === "number" ? fields.code : null,
        signal: typeof fields.signal === "string" ? fields.signal : null,
        message: asText(fields.message),
        usage: { cpu: usage.cpu ?? 0, memory: usage.memory ?? 0, wall: usage.wall ?? 0 },
        timings: asNumbers(fields.timings),
      };
    }
    default:
      return null;
  }
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function asNumber(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

function asNumbers(value: unknown): Record<string, number> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, number] => typeof entry[1] === "number"),
  );
}
