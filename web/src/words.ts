/** How a run went, in words. Pure. */

import type { Exit, State } from "./wire";

const LIMITS: Record<string, string> = {
  wall: "time limit",
  idle: "idle too long",
  cpu: "CPU time limit",
  memory: "memory limit",
  processes: "process limit",
  output: "output limit",
};

export function stateInWords(state: State): string {
  switch (state) {
    case "created":
      return "starting";
    case "waiting":
      return "waiting for input";
    default:
      return state;
  }
}

export function outcomeInWords(exit: Exit): string {
  switch (exit.outcome) {
    case "exited":
      return `exited ${exit.code ?? 0}`;
    case "signal":
      return `ended by ${signalName(exit.signal)}`;
    case "killed":
      return "stopped";
    case "compile_error":
      return "did not compile";
    case "failed":
      return `could not run${detail(exit)}`;
    default:
      return `ended: ${LIMITS[exit.outcome] ?? exit.outcome}${detail(exit)}`;
  }
}

/** Whether the program ended as its author meant it to. */
export function succeeded(exit: Exit): boolean {
  return exit.outcome === "exited" && exit.code === 0;
}

/** The time is the program's own; compiling comes before it, and `firstOutput` (in seconds) counts both. */
export function usageInWords({ usage, timings }: Pick<Exit, "usage" | "timings">, firstOutput: number | null): string {
  const parts = [`CPU ${duration(usage.cpu)}`, `memory ${bytes(usage.memory)}`, `time ${duration(usage.wall)}`];
  const { compile, program } = timings;
  if (compile !== undefined && program !== undefined) parts.push(`compiled in ${duration((program - compile) / 1000)}`);
  if (firstOutput !== null) parts.push(`first output after ${duration(firstOutput)}`);
  return parts.join(" · ");
}

/** Seconds, as people say them. */
export function duration(seconds: number): string {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(seconds < 9.995 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB"];
  let size = count / 1024;
  let unit = 0;
  while (size >= 1023.95 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size < 99.95 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

function signalName(signal: string | null): string {
  if (signal === null) return "a signal";
  return signal.startsWith("SIG") ? signal : `SIG${signal}`;
}

function detail(exit: Exit): string {
  return exit.message ? ` (${exit.message})` : "";
}
