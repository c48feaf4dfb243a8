// Keys: "/" goes to the search field, arrows go from hit to hit, Enter opens one.

const query = document.getElementById("query");
const list = document.getElementById("hits");

function target(key, current) {
  const hits = [...list.children];
  const at = hits.indexOf(current);
  if (key === "Home") return hits[0];
  if (key === "End") return hits.at(-1);
  if (key === "ArrowDown") return hits[at + 1];
  return at > 0 ? hits[at - 1] : query;
}

// open(hit element): opens its document.
export function listen(open) {
  addEventListener("keydown", (event) => {
    const { key, target: from } = event;
    if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    const hit = from.closest("#hits > .hit");
    if (key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(from.tagName)) {
      query.focus();
      query.select();
    } else if (hit && key === "Escape") {
      query.focus();
    } else if (key === "Enter" && from === hit) {
      open(hit);
    } else if (from === query ? key === "ArrowDown" && list.childElementCount
      : hit && !from.closest(".reasons") && /^(Arrow(Up|Down)|Home|End)$/.test(key)) {
      const next = target(key, hit);
      next?.focus({ preventScroll: true });
      next?.scrollIntoView({ block: "nearest" });
    } else return;
    event.preventDefault();
  });
}
