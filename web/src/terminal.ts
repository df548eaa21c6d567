/** The terminal: xterm.js, the page's colours, and what a browser needs beyond a terminal's own keys. */

import { FitAddon } from "@xterm/addon-fit";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { Terminal as Xterm } from "@xterm/xterm";
import type { ITheme } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { Feed } from "./feed";
import { bytes } from "./words";

export interface TerminalEvents {
  input(data: string | Uint8Array): void;
  resize(rows: number, cols: number): void;
}

const ANSI = [
  "black",
  "red",
  "green",
  "yellow",
  "blue",
  "magenta",
  "cyan",
  "white",
  "brightBlack",
  "brightRed",
  "brightGreen",
  "brightYellow",
  "brightBlue",
  "brightMagenta",
  "brightCyan",
  "brightWhite",
] as const;

const DIM = "\x1b[0;2m";
const PLAIN = "\x1b[0m";
/** Undoes what a program may have left behind: alternate screen, mouse reports, margins and modes. */
const TIDY = "\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?2004l\x1b[!p";
const TIDY_MAIN = TIDY.slice(TIDY.indexOf("l") + 1);
const HIDE_CURSOR = "\x1b[?25l";
/** In the stream and not by a call, so that it comes after the bytes of a program before. It leaves the cursor hidden. */
const RESET = "\x1bc";
const SHOW_CURSOR = "\x1b[?25h";

function notShown(size: number): string {
  return `${PLAIN}\r\n${DIM}[${bytes(size)} of output not shown]${PLAIN}\r\n`;
}

export class Terminal {
  private readonly xterm: Xterm;
  private readonly fitting = new FitAddon();
  private readonly feed: Feed;
  private live = false;

  constructor(
    private readonly host: HTMLElement,
    events: TerminalEvents,
  ) {
    const xterm = new Xterm({
      allowProposedApi: true,
      cursorBlink: false,
      cursorInactiveStyle: "outline",
      disableStdin: true,
      fontFamily: getComputedStyle(host).getPropertyValue("--mono"),
      fontSize: 14,
      lineHeight: 1.2,
      macOptionIsMeta: true,
      scrollback: 5000,
      theme: colours(host),
    });
    this.xterm = xterm;
    xterm.loadAddon(this.fitting);
    xterm.loadAddon(new Unicode11Addon());
    xterm.unicode.activeVersion = "11";
    this.feed = new Feed(
      (data, parsed) => xterm.write(data, parsed),
      (skipped) => xterm.write(notShown(skipped)),
    );
    xterm.open(host);
    this.fit();
    new ResizeObserver(() => this.fit()).observe(host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      xterm.options.theme = colours(host);
    });
    xterm.attachCustomKeyEventHandler((event) => this.ownsKey(event));
    // A copied selection is let go of, so that the next Ctrl+C reaches the program.
    host.addEventListener("copy", () => setTimeout(() => xterm.clearSelection()));
    xterm.onData((data) => this.live && events.input(data));
    xterm.onBinary((data) => this.live && events.input(Uint8Array.from(data, (char) => char.charCodeAt(0))));
    xterm.onResize(({ rows, cols }) => events.resize(rows, cols));
  }

  get size(): { rows: number; cols: number } {
    return { rows: this.xterm.rows, cols: this.xterm.cols };
  }

  get hasFocus(): boolean {
    return this.host.contains(document.activeElement);
  }

  focus(): void {
    this.xterm.focus();
  }

  /** Clears everything and takes keys for a new program. */
  begin(): void {
    this.feed.clear();
    this.xterm.write(RESET + SHOW_CURSOR);
    this.live = true;
    this.xterm.options.disableStdin = false;
  }

  output(data: Uint8Array): void {
    this.feed.push(data);
  }

  /** Says that so much output was left out by the server. */
  skip(size: number): void {
    this.feed.push(new TextEncoder().encode(notShown(size)));
  }

  /** Takes no more keys, puts the terminal back in order and says `words` below the program's last line. */
  end(words: string): void {
    this.live = false;
    this.xterm.options.disableStdin = true;
    this.feed.drained(() =>
      this.xterm.write("", () => {
        if (this.live) return;
        const onAlternate = this.xterm.buffer.active.type === "alternate";
        this.xterm.write(onAlternate ? TIDY : TIDY_MAIN, () => {
          if (this.live) return;
          const below = this.xterm.buffer.active.cursorX > 0 ? "\r\n" : "";
          this.xterm.write(`${PLAIN}${below}${DIM}${words}${PLAIN}${HIDE_CURSOR}`);
        });
      }),
    );
  }

  /** Says something while no program runs. */
  say(words: string): void {
    this.xterm.write(`${RESET}${DIM}${words.replaceAll("\n", "\r\n")}${PLAIN}${HIDE_CURSOR}`);
  }

  private fit(): void {
    // A pane that is not laid out has no size to fit to.
    if (this.host.clientWidth > 0 && this.host.clientHeight > 0) this.fitting.fit();
  }

  /** Whether xterm.js gets this key; the browser keeps the others. */
  private ownsKey(event: KeyboardEvent): boolean {
    if (!this.live && event.key === "Tab") return false;
    const copies = event.ctrlKey && !event.altKey && !event.metaKey && event.key.toLowerCase() === "c";
    return !(copies && this.xterm.hasSelection());
  }
}

function colours(host: HTMLElement): ITheme {
  const style = getComputedStyle(host);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  return {
    background: colour("--terminal"),
    foreground: colour("--text"),
    cursor: colour("--accent"),
    cursorAccent: colour("--terminal"),
    selectionBackground: colour("--selection"),
    ...Object.fromEntries(ANSI.map((name, index) => [name, colour(`--ansi-${index}`)])),
  };
}
