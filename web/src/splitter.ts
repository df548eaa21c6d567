/** The bar between editor and terminal: dragged, or moved with the arrow keys. Beside each other on wide screens, else stacked. */

import { recall, remember } from "./storage";

const LEAST = 15;
const MOST = 85;
const STEP = 2;

export function splitter(bar: HTMLElement, panes: HTMLElement): void {
  const stacked = matchMedia("(max-width: 800px)");
  let share = Number(recall("split")) || 52;

  const show = (): void => {
    share = Math.min(MOST, Math.max(LEAST, share));
    panes.style.setProperty("--share", `${share}fr`);
    panes.style.setProperty("--rest", `${100 - share}fr`);
    bar.setAttribute("aria-valuenow", String(Math.round(share)));
  };
  const orient = (): void => {
    bar.setAttribute("aria-orientation", stacked.matches ? "horizontal" : "vertical");
  };
  const keep = (): void => remember("split", share.toFixed(1));

  bar.setAttribute("aria-valuemin", String(LEAST));
  bar.setAttribute("aria-valuemax", String(MOST));
  stacked.addEventListener("change", orient);
  orient();
  show();

  bar.addEventListener("pointerdown", (event) => {
    bar.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  bar.addEventListener("pointermove", (event) => {
    if (!bar.hasPointerCapture(event.pointerId)) return;
    const box = panes.getBoundingClientRect();
    const at = stacked.matches ? (event.clientY - box.top) / box.height : (event.clientX - box.left) / box.width;
    share = at * 100;
    show();
  });
  bar.addEventListener("pointerup", keep);
  bar.addEventListener("keydown", (event) => {
    const [back, forth] = stacked.matches ? ["ArrowUp", "ArrowDown"] : ["ArrowLeft", "ArrowRight"];
    if (event.key === back) share -= STEP;
    else if (event.key === forth) share += STEP;
    else if (event.key === "Home") share = LEAST;
    else if (event.key === "End") share = MOST;
    else return;
    event.preventDefault();
    show();
    keep();
  });
}
