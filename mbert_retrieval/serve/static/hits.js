// A hit: where it is, the lines that answer, and on demand why.

import { bestWindow, element, prose, rows } from "./text.js";
import { call } from "./common.js";
import { reasons } from "./reasons.js";

const LINES = 12; // of a hit, until all are shown

// search: {query, options} that led to the hit. href: the address of its document.
// open(event): opens it. fail(error): shows what went wrong.
export function card(hit, { query, options }, href, open, fail) {
  const view = { lines: false, marks: hit.marks ?? [], name: "mark" };
  const body = element("div");
  const paint = () => {
    if (hit.path === null) { body.replaceChildren(prose(hit, view.marks, view.name)); return; }
    const all = rows(hit, view.marks, view.name);
    const first = view.lines ? 0 : bestWindow(hit.text, hit.marks ?? [], LINES);
    const shown = view.lines ? all : all.slice(first, first + LINES);
    body.replaceChildren(element("div", { class: "code" }, ...shown));
    if (all.length > LINES) {
      body.append(element("button", { type: "button", class: "more",
        onclick: () => { view.lines = !view.lines; paint(); } },
        view.lines ? "fewer lines" : `all ${all.length} lines`));
    }
  };
  const repaint = (marks, name) => { Object.assign(view, { marks, name, lines: true }); paint(); };
  const why = element("button", { type: "button", class: "why", "aria-expanded": "false" }, "why");
  let panel = null;
  why.addEventListener("click", async () => {
    const open = why.getAttribute("aria-expanded") === "true";
    why.setAttribute("aria-expanded", !open);
    if (open) { panel?.remove(); panel = null; Object.assign(view, { marks: hit.marks, name: "mark" }); paint(); return; }
    try {
      const explained = await call("/api/explain", { query, id: hit.id, ...options });
      explained.matches.text = hit.text;
      panel = reasons(explained, repaint);
      item.append(panel);
    } catch (error) { fail(error); why.setAttribute("aria-expanded", "false"); }
  });
  const name = String(hit.metadata.name ?? "") || (hit.path === null ? hit.title || hit.id : hit.path.split("/").pop());
  const location = element("a", { class: "location", href, onclick: open,
    title: hit.path === null ? "Show the passage as it was indexed" : "Show the entire file as it was indexed" },
    hit.path === null ? hit.id : `${hit.path}:${hit.start_line}-${hit.end_line}`);
  const item = element("li", { class: "hit", tabindex: -1, "aria-label": `${hit.rank}. ${name}, ${location.textContent}` },
    element("header", {}, element("span", { class: "rank" }, hit.rank),
      element("span", { class: "title" }, name), location,
      element("span", { class: "right" },
        ...["kind", "language"].filter((key) => typeof hit.metadata[key] === "string")
          .map((key) => element("span", { class: "tag" }, hit.metadata[key])),
        element("span", { class: "score", title: "score" }, hit.score.toPrecision(3)), why)), body);
  paint();
  return item;
}
