// The drawer with an entire document as it was indexed, or a passage that is in no file.

import { element, prose, rows } from "./text.js";
import { call } from "./common.js";

const drawer = document.getElementById("document");
let newest = 0; // the last one wanted: an answer that comes late shows nothing

// wanted: {doc, line} or {id}. hits: their marks colour the passage that was opened.
export async function showDocument(wanted, hits) {
  const turn = ++newest;
  const byId = wanted.doc === undefined;
  const path = byId ? `/api/passage?id=${encodeURIComponent(wanted.id)}`
    : `/api/document?path=${encodeURIComponent(wanted.doc)}`;
  const answer = await call(path);
  if (turn !== newest) return;
  const passages = byId ? [answer] : answer.passages;
  const here = passages.find((passage) => byId || String(passage.start_line) === wanted.line)
    ?? passages.find((passage) => passage.start_line <= wanted.line && wanted.line <= passage.end_line);
  let target = null;
  const sections = passages.map((passage) => {
    const marks = hits.find((hit) => hit.id === passage.id)?.marks ?? [];
    const name = String(passage.metadata.name ?? "") || passage.title;
    const text = passage.path === null ? [prose(passage, marks)] : rows(passage, marks);
    if (passage === here && !byId) { text.forEach((line) => line.classList.add("here")); target = text[0]; }
    return element("section", {}, name ? element("h3", {}, name) : null,
      element("div", { class: passage.path === null ? "" : "code" }, ...text));
  });
  drawer.replaceChildren(element("header", {}, element("h2", {}, wanted.doc ?? wanted.id),
    element("button", { type: "button", onclick: () => drawer.close() }, "close")), ...sections);
  if (!drawer.open) drawer.showModal();
  drawer.scrollTop = 0;
  target?.scrollIntoView({ block: "center" });
}

export function hideDocument() {
  newest++;
  drawer.close();
}

// leave: called when the reader closes it, not when `hideDocument` does.
export function onLeaving(leave, isWanted) {
  drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });
  drawer.addEventListener("close", () => { if (isWanted()) leave(); });
}
