/** The editor: CodeMirror in a shadow root, where it may use constructed style sheets as the page's policy demands. */

import { closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  StreamLanguage,
  syntaxHighlighting,
} from "@codemirror/language";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState } from "@codemirror/state";
import type { Extension } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";

/** Colours come from the page's custom properties, so light and dark need no second theme. */
const highlighting = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier, tags.operatorKeyword], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string), tags.regexp, tags.character], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--code-number)" },
  { tag: [tags.comment, tags.docComment], color: "var(--code-comment)", fontStyle: "italic" },
  {
    tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.standard(tags.name)],
    color: "var(--code-function)",
  },
  { tag: [tags.typeName, tags.className, tags.namespace], color: "var(--code-type)" },
  { tag: [tags.meta, tags.processingInstruction, tags.escape], color: "var(--code-meta)" },
]);

const theme = EditorView.theme({
  "&": { height: "100%", fontSize: "14px", color: "var(--text)", backgroundColor: "var(--surface)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5" },
  ".cm-content": { padding: "10px 0", caretColor: "var(--accent)" },
  ".cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  ".cm-gutters": { backgroundColor: "var(--surface)", color: "var(--faint)", border: "none" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 12px 0 14px" },
  ".cm-activeLine": { backgroundColor: "transparent" },
  "&.cm-focused .cm-activeLine": { backgroundColor: "var(--active-line)" },
  ".cm-activeLineGutter": { backgroundColor: "transparent", color: "var(--muted)" },
  "& > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": { background: "var(--selection)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": { background: "var(--selection)" },
  ".cm-selectionMatch": { backgroundColor: "var(--selection-match)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--selection)", outline: "none" },
  ".cm-panels": { backgroundColor: "var(--bar)", color: "var(--text)" },
  ".cm-panels.cm-panels-bottom": { borderTop: "1px solid var(--line)" },
  ".cm-textfield": { backgroundColor: "var(--surface)", color: "var(--text)", border: "1px solid var(--line)" },
  ".cm-button": {
    backgroundImage: "none",
    backgroundColor: "var(--surface)",
    color: "var(--text)",
    border: "1px solid var(--line)",
    borderRadius: "4px",
  },
});

/**
 * Typing over a selection, done here: the browser would do it keeping the look of the text before by a `style`
 * attribute, which the page's policy blocks and complains about.
 */
const typeOver = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { state } = view;
    const { from, to, empty } = state.selection.main;
    const text = event.data;
    if (event.inputType !== "insertText" || text === null || empty || view.composing) return false;
    const insert = () => state.update(state.replaceSelection(text), { userEvent: "input.type", scrollIntoView: true });
    const handled = state.facet(EditorView.inputHandler).some((handler) => handler(view, from, to, text, insert));
    if (!handled) view.dispatch(insert());
    return true;
  },
});

/** Grammars are loaded when their language is first shown. */
const grammars: Record<string, () => Promise<Extension>> = {
  python: async () => [(await import("@codemirror/lang-python")).python(), indentUnit.of("    ")],
  javascript: async () => (await import("@codemirror/lang-javascript")).javascript(),
  c: async () => [(await import("@codemirror/lang-cpp")).cpp(), indentUnit.of("    ")],
  cpp: async () => [(await import("@codemirror/lang-cpp")).cpp(), indentUnit.of("    ")],
  java: async () => [(await import("@codemirror/lang-java")).java(), indentUnit.of("    ")],
  bash: async () => StreamLanguage.define((await import("@codemirror/legacy-modes/mode/shell")).shell),
};

export class Editor {
  private readonly view: EditorView;
  private readonly grammar = new Compartment();
  private readonly states = new Map<string, EditorState>();
  private shown = "";

  /** `changed` is called with the new text after each edit of the language shown. */
  constructor(
    host: HTMLElement,
    private readonly changed: (code: string) => void,
  ) {
    const root = host.attachShadow({ mode: "open", delegatesFocus: true });
    const parent = document.createElement("div");
    parent.style.height = "100%";
    root.append(parent);
    this.view = new EditorView({ parent, root, state: EditorState.create() });
  }

  /** Shows a language's text; undo history and cursor of each language are kept while the page lives. */
  async show(language: string, name: string, code: () => string): Promise<void> {
    if (this.shown !== "") this.states.set(this.shown, this.view.state);
    this.shown = language;
    this.view.setState(this.states.get(language) ?? this.state(code(), name));
    const grammar = await grammars[language]?.();
    // By now the visitor may look at another language.
    if (grammar === undefined || this.shown !== language) return;
    this.view.dispatch({ effects: this.grammar.reconfigure(grammar) });
  }

  replace(code: string): void {
    this.view.dispatch({ changes: { from: 0, to: this.view.state.doc.length, insert: code } });
  }

  get code(): string {
    return this.view.state.doc.toString();
  }

  get hasFocus(): boolean {
    return this.view.hasFocus;
  }

  focus(): void {
    this.view.focus();
  }

  private state(doc: string, name: string): EditorState {
    return EditorState.create({
      doc,
      extensions: [
        lineNumbers(),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        highlightSpecialChars(),
        history(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        closeBrackets(),
        typeOver,
        highlightSelectionMatches(),
        keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, indentWithTab]),
        EditorState.allowMultipleSelections.of(true),
        EditorView.contentAttributes.of({ "aria-label": `${name} program` }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) this.changed(update.state.doc.toString());
        }),
        syntaxHighlighting(highlighting),
        theme,
        this.grammar.of([]),
      ],
    });
  }
}
