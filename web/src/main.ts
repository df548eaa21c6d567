/** Joins the parts of the page. */

import { Client } from "./client";
import type { Run } from "./client";
import { Editor } from "./editor";
import { fetchCatalogue, label, storeCode, storedCode } from "./languages";
import type { Language } from "./languages";
import { splitter } from "./splitter";
import { StatusBar } from "./statusbar";
import { recall, remember } from "./storage";
import "./style.css";
import { Terminal } from "./terminal";
import type { ServerError } from "./wire";
import { outcomeInWords } from "./words";

const RETRY_CATALOGUE = 3000;
const WELCOME = "Ctrl+Enter runs the program here.\nCtrl+` moves between editor and terminal.";

function element<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const picker = element<HTMLSelectElement>("language");
const runButton = element<HTMLButtonElement>("run");
const stopButton = element<HTMLButtonElement>("stop");
const interruptButton = element<HTMLButtonElement>("interrupt");
const sampleButton = element<HTMLButtonElement>("sample");
const notice = element("notice");
const keyForm = element<HTMLFormElement>("key-form");
const keyField = element<HTMLInputElement>("key");

const status = new StatusBar(element("state"), element("usage"), element("connection"), element("limits"));
const languages = new Map<string, Language>();
let language: Language | undefined;
let current: Run | undefined;

splitter(element("splitter"), element("panes"));
const editor = new Editor(element("editor"), (code) => {
  if (language !== undefined) storeCode(language, code);
  showButtons();
});
const terminal = new Terminal(element("terminal"), {
  input: (data) => current?.input(data),
  resize: (rows, cols) => current?.resize(rows, cols),
});
terminal.say(WELCOME);

const client = new Client(socketUrl(), {
  status: (value) => status.connected(value),
  error: tell,
  refused: () => {
    keyField.value = "";
    remember("key", null, "in this tab");
    askForKey();
  },
  draining: () => tell({ message: "the server is about to stop", hint: "running programs may finish" }),
});
keyField.value = recall("key", "in this tab") ?? "";
client.authenticate(keyField.value || null);
void loadCatalogue();

function socketUrl(): string {
  const url = new URL("api/v1/terminal", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

async function loadCatalogue(): Promise<void> {
  try {
    const catalogue = await fetchCatalogue(new URL("api/v1/languages", document.baseURI));
    status.limited(catalogue.limits);
    keyForm.hidden = catalogue.auth !== "keys";
    for (const each of catalogue.languages) {
      languages.set(each.id, each);
      const option = new Option(label(each), each.id);
      option.disabled = !each.available;
      picker.add(option);
    }
  } catch (error) {
    tell({ message: error instanceof Error ? error.message : String(error), hint: "trying again" });
    setTimeout(() => void loadCatalogue(), RETRY_CATALOGUE);
    return;
  }
  tell(null);
  const usable = [...languages.values()].filter((each) => each.available);
  const first = usable.find((each) => each.id === recall("language")) ?? usable[0];
  if (first === undefined) {
    tell({ message: "this server has no language installed", hint: "ask its operator to run: runnerd doctor" });
    return;
  }
  picker.disabled = false;
  show(first);
  editor.focus();
}

function show(next: Language): void {
  language = next;
  picker.value = next.id;
  remember("language", next.id);
  void editor.show(next.id, next.name, () => storedCode(next)).then(showButtons);
  showButtons();
}

function showButtons(): void {
  runButton.disabled = language === undefined;
  runButton.textContent = current === undefined ? "Run" : "Run again";
  stopButton.disabled = current === undefined;
  interruptButton.disabled = current === undefined;
  sampleButton.disabled = language === undefined || editor.code === language.sample.code;
}

function run(): void {
  if (language === undefined) return;
  current?.kill();
  tell(null);
  terminal.begin();
  terminal.focus();
  status.starting();
  const asked = performance.now();
  let firstOutput: number | null = null;
  // A run that was replaced goes on talking until it is dead.
  const isCurrent = (): boolean => current === started;
  const started: Run = client.run(
    { language: language.id, code: editor.code, ...terminal.size },
    {
      started: () => isCurrent() && status.running("running"),
      output: ({ data }) => {
        if (!isCurrent()) return;
        firstOutput ??= (performance.now() - asked) / 1000;
        terminal.output(data);
      },
      state: (state) => isCurrent() && status.running(state),
      skipped: (bytes) => isCurrent() && terminal.skip(bytes),
      error: (error) => {
        if (!isCurrent()) return;
        tell(error);
        if (error.code === "unauthorized") askForKey();
      },
      end: (exit) => {
        if (!isCurrent()) return;
        current = undefined;
        status.ended(exit, firstOutput);
        terminal.end(exit === null ? "not run to its end" : outcomeInWords(exit));
        showButtons();
      },
    },
  );
  current = started;
  showButtons();
}

/** The field is there for keys that were never needed too: someone may have revoked one. */
function askForKey(): void {
  keyForm.hidden = false;
  keyField.focus();
}

/** Shows an error with what to do about it; null takes it away. */
function tell(error: Pick<ServerError, "message" | "hint"> | null): void {
  notice.hidden = error === null;
  element("notice-text").textContent = error === null ? "" : [error.message, error.hint].filter(Boolean).join(" — ");
}

picker.addEventListener("change", () => {
  const next = languages.get(picker.value);
  if (next !== undefined) show(next);
});
runButton.addEventListener("click", run);
stopButton.addEventListener("click", () => {
  current?.kill();
  terminal.focus();
});
interruptButton.addEventListener("click", () => {
  current?.input("\x03");
  terminal.focus();
});
sampleButton.addEventListener("click", () => {
  if (language !== undefined) editor.replace(language.sample.code);
  editor.focus();
});
keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  editor.focus(); // which is a change of the field
});
keyField.addEventListener("change", () => {
  const key = keyField.value.trim() || null;
  remember("key", key, "in this tab");
  tell(null);
  client.authenticate(key);
});
element("notice-close").addEventListener("click", () => tell(null));
window.addEventListener("online", () => client.connect());

// Captured, so that these keys work in the editor and in the terminal alike.
window.addEventListener(
  "keydown",
  (event) => {
    if (event.altKey || event.shiftKey) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") run();
    else if (event.ctrlKey && event.code === "Backquote") (terminal.hasFocus ? editor : terminal).focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  },
  { capture: true },
);
