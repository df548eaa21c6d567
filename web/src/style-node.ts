/**
 * An element that stands in for `<style>`: what is written to its `textContent` becomes a constructed style sheet of
 * the document, which a content security policy of `style-src 'self'` allows. Removing it takes the sheet away.
 */
export function createStyleNode(): HTMLElement {
  const node = document.createElement("template");
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  Object.defineProperty(node, "textContent", { set: (rules: string) => sheet.replaceSync(rules) });
  node.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
    HTMLTemplateElement.prototype.remove.call(node);
  };
  return node;
}
