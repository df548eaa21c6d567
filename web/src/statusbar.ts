/** The bar at the bottom: what the program does, how it ended, what it used, and how the connection is. */

import type { Status } from "./client";
import type { Exit, State } from "./wire";
import { outcomeInWords, stateInWords, succeeded, usageInWords } from "./words";

/** A key wakes a waiting program for a moment; only a longer one is worth telling. Milliseconds. */
const SETTLE = 120;

const CONNECTION: Record<Status, string> = { connecting: "connecting", open: "connected", offline: "reconnecting" };

export class StatusBar {
  private settling: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly state: HTMLElement,
    private readonly usage: HTMLElement,
    private readonly connection: HTMLElement,
    private readonly limits: HTMLElement,
  ) {}

  starting(): void {
    this.say("starting", "running");
    this.usage.textContent = "";
    this.usage.title = "";
  }

  running(state: State): void {
    clearTimeout(this.settling);
    if (state === "running" && this.state.dataset.state === "waiting") {
      this.settling = setTimeout(() => this.say(stateInWords(state), state), SETTLE);
    } else if (state === "running" || state === "waiting") {
      this.say(stateInWords(state), state);
    }
  }

  /** `firstOutput` in seconds since Run was pressed, null when there was none. */
  ended(exit: Exit | null, firstOutput: number | null): void {
    if (exit === null) {
      this.say("not run to its end", "failed");
      return;
    }
    this.say(outcomeInWords(exit), succeeded(exit) ? "finished" : "failed");
    this.usage.textContent = usageInWords(exit, firstOutput);
    this.usage.title = Object.entries(exit.timings)
      .map(([name, milliseconds]) => `${name} ${milliseconds.toFixed(1)} ms`)
      .join("\n");
  }

  connected(status: Status): void {
    this.connection.textContent = CONNECTION[status];
    this.connection.dataset.status = status;
  }

  limited(mode: "cgroup" | "best-effort" | undefined): void {
    this.limits.hidden = mode !== "best-effort";
    this.limits.title =
      "This host has no delegated cgroups: memory and process limits are kept by a watcher instead of the kernel.";
  }

  private say(words: string, state: string): void {
    clearTimeout(this.settling);
    this.state.textContent = words;
    this.state.dataset.state = state;
  }
}
