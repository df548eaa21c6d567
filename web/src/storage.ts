/** What the visitor's browser remembers, for good or for as long as the tab is open. Every call works without storage too: it may be blocked or full. */

const PREFIX = "runnerd.";

type Span = "for good" | "in this tab";

export function recall(name: string, span: Span = "for good"): string | null {
  try {
    return storage(span).getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** Null forgets. */
export function remember(name: string, value: string | null, span: Span = "for good"): void {
  try {
    if (value === null) storage(span).removeItem(PREFIX + name);
    else storage(span).setItem(PREFIX + name, value);
  } catch {
    // The page works on without memory.
  }
}

function storage(span: Span): Storage {
  return span === "for good" ? localStorage : sessionStorage;
}
