import { describe, expect, it } from "vitest";
import { decode, encodeControl, encodeInput, encodeStart } from "../src/wire";

function frame(...bytes: number[]): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}

describe("encoding", () => {
  it("starts a program on a terminal", () => {
    const text = encodeStart(7, { language: "python", code: "print('ä')", rows: 30, cols: 100 });
    expect(JSON.parse(text)).toEqual({
      type: "start",
      stream: 7,
      language: "python",
      code: "print('ä')",
      mode: "terminal",
      rows: 30,
      cols: 100,
    });
  });

  it("puts the stream before the bytes of input", () => {
    expect([...encodeInput(0x01020304, "ä\r")]).toEqual([0, 1, 2, 3, 4, 0xc3, 0xa4, 0x0d]);
    expect([...encodeInput(1, Uint8Array.of(0xff))]).toEqual([0, 0, 0, 0, 1, 0xff]);
  });

  it("names the stream in control messages", () => {
    expect(JSON.parse(encodeControl("signal", 3, { signal: "INT" }))).toEqual({
      type: "signal",
      stream: 3,
      signal: "INT",
    });
  });
});

describe("decoding", () => {
  it("reads output with its channel and offset", () => {
    const message = decode(frame(2, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 5, 0x68, 0x69));
    expect(message).toEqual({
      type: "output",
      channel: "stderr",
      stream: 256,
      offset: 2 ** 33 + 5,
      data: Uint8Array.of(0x68, 0x69),
    });
  });

  it("reads an output frame without bytes", () => {
    expect(decode(frame(1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0))).toMatchObject({ data: new Uint8Array() });
  });

  it("reads an exit, with what is absent filled in", () => {
    const exit = { type: "exit", stream: 1, outcome: "signal", code: null, signal: "SEGV", usage: { cpu: 0.5, memory: 9 } };
    expect(decode(JSON.stringify(exit))).toEqual({
      ...exit,
      message: "",
      usage: { cpu: 0.5, memory: 9, wall: 0 },
      timings: {},
    });
  });

  it("reads an error of the connection", () => {
    expect(decode('{"type":"error","stream":null,"code":"busy","message":"full","hint":"later"}')).toEqual({
      type: "error",
      stream: null,
      code: "busy",
      message: "full",
      hint: "later",
    });
  });

  it.each([
    ["not JSON", "{"],
    ["not an object", "7"],
    ["null", "null"],
    ["an unknown type", '{"type":"news","stream":1}'],
    ["a run's message without a stream", '{"type":"state","state":"running"}'],
    ["a short binary frame", frame(1, 0, 0, 0, 1)],
    ["an unknown channel", frame(9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)],
  ])("passes over %s", (_name, input) => {
    expect(decode(input)).toBeNull();
  });
});
