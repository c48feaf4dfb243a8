// The search page: searches as you type, shows hits, and explains them.

import { bestWindow, element, prose, rows } from "./text.js";
import { call, setTheme } from "./common.js";
import { reasons } from "./reasons.js";

const PAUSE = 140; // ms after the last key
const LINES = 12; // of a hit, until all are shown
const $ = (id) => document.getElementById(id);
const state = { mode: "hybrid", info: null, request: null, timer: 0 };

function filter() {
  const quote = (value) => `'${value.replaceAll("'", "''")}'`;
  const parts = ["language", "kind"].filter((name) => $(name).value)
    .map((name) => `${name} = ${quote($(name).value)}`);
  const path = $("path").value.trim();
  if (path) parts.push(/[*?[]/.test(path) ? `path GLOB ${quote(path)}` : `path LIKE ${quote(`%${path}%`)}`);
  return parts.length ? parts.join(" AND ") : null;
}

function remember() {
  const values = { q: $("query").value, mode: state.mode === "hybrid" ? "" : state.mode,
    language: $("language").value, kind: $("kind").value, path: $("path").value,
    k: $("k").value === "10" ? "" : $("k").value };
  const fragment = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  history.replaceState(null, "", fragment.size ? `#${fragment}` : location.pathname);
}

function recall() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  $("query").value = fragment.get("q") ?? "";
  for (const name of ["language", "kind", "path"]) $(name).value = fragment.get(name) ?? "";
  $("k").value = fragment.get("k") ?? "10";
  setMode(fragment.get("mode") ?? "hybrid");
}

function setMode(mode) {
  state.mode = state.info.modes.includes(mode) ? mode : "hybrid";
  for (const button of $("modes").children) {
    button.setAttribute("aria-checked", button.value === state.mode);
  }
}

async function search() {
  clearTimeout(state.timer);
  state.request?.abort();
  const query = $("query").value;
  for (const name of ["language", "kind", "path"]) $(name).toggleAttribute("data-set", !!$(name).value);
  remember();
  $("welcome").hidden = !!query.trim();
  if (!query.trim()) { $("hits").replaceChildren(); say(""); return; }
  const request = state.request = new AbortController();
  $("hits").classList.add("stale");
  const started = performance.now();
  const options = { k: Number($("k").value), mode: state.mode, where: filter() };
  try {
    const answer = await call("/api/search", { query, marks: true, ...options }, request.signal);
    const ms = Math.round(performance.now() - started);
    const count = answer.hits.length;
    say(count ? `${count} ${count === 1 ? "hit" : "hits"} in ${ms} ms` : "Nothing found.");
    $("hits").replaceChildren(...answer.hits.map((hit) => card(hit, query, options)));
  } catch (error) {
    if (error.name === "AbortError") return;
    say(error.message, true);
  }
  $("hits").classList.remove("stale");
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function card(hit, query, options) {
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
    } catch (error) { say(error.message, true); why.setAttribute("aria-expanded", "false"); }
  });
  const name = String(hit.metadata.name ?? "") || (hit.path === null ? hit.title || hit.id : hit.path.split("/").pop());
  const location = hit.path === null ? (hit.title ? element("span", { class: "location" }, hit.id) : null)
    : element("button", { type: "button", class: "location", title: "Show the entire file as it was indexed",
      onclick: () => openDocument(hit) }, `${hit.path}:${hit.start_line}-${hit.end_line}`);
  const item = element("li", { class: "hit" }, element("header", {},
    element("span", { class: "rank" }, hit.rank), element("span", { class: "title" }, name), location,
    element("span", { class: "right" },
      ...["kind", "language"].filter((key) => typeof hit.metadata[key] === "string")
        .map((key) => element("span", { class: "tag" }, hit.metadata[key])),
      element("span", { class: "score", title: "score" }, hit.score.toPrecision(3)), why)), body);
  paint();
  return item;
}

async function openDocument(hit) {
  const drawer = $("document");
  try {
    const answer = await call(`/api/document?path=${encodeURIComponent(hit.path)}`);
    let target = null;
    const parts = answer.passages.map((passage) => {
      const here = passage.id === hit.id;
      const lines = rows(passage, here ? hit.marks ?? [] : []);
      if (here) { lines.forEach((line) => line.classList.add("here")); target = lines[0]; }
      return element("section", {}, element("h4", {}, String(passage.metadata.name ?? passage.title)),
        element("div", { class: "code" }, ...lines));
    });
    drawer.replaceChildren(element("header", {}, answer.path,
      element("button", { type: "button", onclick: () => drawer.close() }, "close")), ...parts);
    drawer.showModal();
    target?.scrollIntoView({ block: "center" });
  } catch (error) { say(error.message, true); }
}

function welcome(info) {
  const parts = Object.entries(info.parts).map(([name, made]) =>
    [{ late: "late interaction", dense: "dense vectors", lexical: "words" }[name] ?? name, made]);
  $("welcome").replaceChildren(
    element("h1", {}, info.name),
    element("div", {}, "Ask as you would ask a colleague, or paste an identifier."),
    element("div", { class: "parts" },
      ...[["passages", info.passages.toLocaleString("en")], ...parts].map(([name, value]) =>
        element("div", { class: "part" }, element("b", {}, value), element("span", {}, name)))));
}

function prepare(info) {
  state.info = info;
  $("name").textContent = info.name;
  document.title = `${info.name} · mbert-search`;
  $("facts").textContent = `${info.passages.toLocaleString("en")} passages`;
  for (const name of ["language", "kind"]) {
    const values = Object.entries(info.facets[name] ?? {});
    $(name).closest("label").hidden = values.length < 2;
    $(name).append(...values.map(([value, count]) =>
      element("option", { value }, `${value} (${count.toLocaleString("en")})`)));
  }
  $("modes").append(...info.modes.map((mode) => element("button", {
    type: "button", role: "radio", value: mode, onclick: () => { setMode(mode); search(); } }, mode)));
  $("modes").hidden = info.modes.length < 2;
  welcome(info);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", setTheme);
$("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", next);
  setTheme();
});
setTheme();

$("form").addEventListener("submit", (event) => { event.preventDefault(); search(); });
for (const name of ["query", "path"]) {
  $(name).addEventListener("input", () => {
    clearTimeout(state.timer);
    state.timer = setTimeout(search, PAUSE);
  });
}
for (const name of ["language", "kind", "k"]) $(name).addEventListener("change", search);
$("home").addEventListener("click", (event) => {
  event.preventDefault(); history.replaceState(null, "", location.pathname); recall(); search(); $("query").focus(); });
$("document").addEventListener("click", (event) => { if (event.target === $("document")) $("document").close(); });
addEventListener("hashchange", () => { recall(); search(); });
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName)) {
    event.preventDefault(); $("query").focus(); $("query").select();
  }
});

try { prepare(await call("/api/info")); recall(); await search(); } catch (error) { say(error.message, true); }
