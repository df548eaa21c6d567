/**
 * Keeps a flood of output from drowning the page.
 *
 * The terminal parses slower than a socket delivers, and throws bytes away when too many wait. So at most `ahead`
 * bytes are handed to it before it has parsed them; the rest waits here, and beyond `keep` bytes the oldest are
 * dropped and counted, as a terminal's scrollback would have dropped them.
 */
export class Feed {
  private readonly waiting: Uint8Array[] = [];
  private size = 0;
  private inFlight = 0;
  private dropped = 0;
  private watchers: (() => void)[] = [];

  /** `skipped` tells how many bytes are missing before the next ones. */
  constructor(
    private readonly write: (data: Uint8Array, parsed: () => void) => void,
    private readonly skipped: (bytes: number) => void,
    private readonly ahead = 512 * 1024,
    private readonly keep = 16 * 1024 * 1024,
  ) {}

  push(data: Uint8Array): void {
    this.waiting.push(data);
    this.size += data.length;
    this.flush();
    while (this.size > this.keep) {
      const oldest = this.waiting.shift();
      if (oldest === undefined) break;
      this.size -= oldest.length;
      this.dropped += oldest.length;
    }
  }

  /** Calls `then` when all that was pushed before has been handed over. */
  drained(then: () => void): void {
    if (this.waiting.length === 0) then();
    else this.watchers.push(then);
  }

  /** Forgets what waits. */
  clear(): void {
    this.waiting.length = 0;
    this.size = 0;
    this.dropped = 0;
    this.watchers = [];
  }

  private flush(): void {
    while (this.inFlight < this.ahead) {
      const data = this.waiting.shift();
      if (data === undefined) break;
      this.size -= data.length;
      this.inFlight += data.length;
      if (this.dropped > 0) this.skipped(this.dropped);
      this.dropped = 0;
      this.write(data, () => {
        this.inFlight -= data.length;
        this.flush();
      });
    }
    if (this.waiting.length === 0) {
      const watchers = this.watchers;
      this.watchers = [];
      for (const each of watchers) each();
    }
  }
}
