// The search page: searches as you type, shows hits, and gives everything an address.

import { element } from "./text.js";
import { Unreachable, call, setTheme } from "./common.js";
import { lost } from "./connection.js";
import { address, leaveDocument, push, read, replace, withoutDocument } from "./address.js";
import { hideDocument, onLeaving, showDocument } from "./document.js";
import { help, welcome } from "./empty.js";
import { card } from "./hits.js";
import { listen } from "./keys.js";

const PAUSE = 140; // ms after the last key
const $ = (id) => document.getElementById(id);
const FIELDS = { q: "query", language: "language", kind: "kind", path: "path", k: "k" };
const state = { info: null, request: null, timer: 0, hits: [], shown: null };

function filter() {
  const quote = (value) => `'${value.replaceAll("'", "''")}'`;
  const parts = ["language", "kind"].filter((name) => $(name).value)
    .map((name) => `${name} = ${quote($(name).value)}`);
  const path = $("path").value.trim();
  if (path) parts.push(/[*?[]/.test(path) ? `path GLOB ${quote(path)}` : `path LIKE ${quote(`%${path}%`)}`);
  return parts.length ? parts.join(" AND ") : null;
}

const mode = () => document.querySelector("#modes input:checked")?.value ?? "hybrid";

function searchValues() {
  const values = Object.fromEntries(Object.entries(FIELDS).map(([name, id]) => [name, $(id).value]));
  return { ...values, mode: mode() };
}

function recall(values) {
  for (const [name, id] of Object.entries(FIELDS)) {
    $(id).value = values[name] ?? (name === "k" ? "10" : "");
    if ($(id).selectedIndex === -1) $(id).value = name === "k" ? "10" : ""; // no such option
  }
  for (const input of $("modes").querySelectorAll("input")) {
    input.checked = input.value === (values.mode ?? "hybrid");
  }
  if (!document.querySelector("#modes input:checked")) {
    const first = $("modes").querySelector("input");
    if (first) first.checked = true;
  }
}

async function search() {
  clearTimeout(state.timer);
  state.request?.abort();
  const values = searchValues();
  const query = values.q;
  for (const name of ["language", "kind", "path"]) $(name).toggleAttribute("data-set", !!$(name).value);
  replace(read().doc || read().id ? { ...read(), ...values } : values);
  state.shown = address(values);
  $("welcome").hidden = !!query.trim();
  if (!query.trim()) { show([], ""); return; }
  const request = state.request = new AbortController();
  $("hits").classList.add("stale");
  const started = performance.now();
  const options = { k: Number(values.k), mode: values.mode, where: filter() };
  try {
    const answer = await call("/api/search", { query, marks: true, ...options }, request.signal);
    const ms = Math.round(performance.now() - started);
    const count = answer.hits.length;
    show(answer.hits.map((hit) => [hit, { query, options }]),
      count ? `${count} ${count === 1 ? "hit" : "hits"} in ${ms} ms` : "No hits.");
    if (count) return;
    const content = await help(values);
    if (request === state.request) $("nothing").replaceChildren(...content);
  } catch (error) { if (error.name !== "AbortError") fail(error); }
}

function show(hits, text) {
  say(text);
  state.hits = hits.map(([hit]) => hit);
  $("nothing").replaceChildren();
  $("hits").replaceChildren(...hits.map(([hit, search]) => {
    const values = { ...withoutDocument(), ...(hit.path === null ? { id: hit.id } : { doc: hit.path, line: hit.start_line }) };
    return card(hit, search, address(values), (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in a new tab or window
      event.preventDefault();
      push(values);
      showWanted();
    }, fail);
  }));
  $("hits").classList.remove("stale");
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

// Hits that are there already stay, dimmed: they are not of this search.
function fail(error) {
  if (!(error instanceof Unreachable)) { say(error.message, true); return; }
  say("");
  $("hits").classList.add("stale");
  lost(start);
}

// Show the document of the address, or none.
async function showWanted() {
  const wanted = read();
  const title = wanted.doc ?? wanted.id;
  document.title = `${title ?? state.info.name} · mbert-search`;
  if (title === undefined) { hideDocument(); return; }
  try {
    await showDocument(wanted, state.hits);
  } catch (error) {
    leaveDocument();
    fail(error);
  }
}

// After "back", "forward", a link, or an address that was typed.
async function restore() {
  const values = withoutDocument();
  recall(values);
  if (address(searchValues()) !== state.shown) await search();
  await showWanted();
}

function prepare(info) {
  state.info = info;
  $("name").textContent = info.name;
  $("facts").textContent = `${info.passages.toLocaleString("en")} passages`;
  for (const name of ["language", "kind"]) {
    const values = Object.entries(info.facets[name] ?? {});
    $(name).closest("label").hidden = values.length < 2;
    $(name).replaceChildren(element("option", { value: "" }, "any"), ...values.map(([value, count]) =>
      element("option", { value }, `${value} (${count.toLocaleString("en")})`)));
  }
  const choices = info.modes.length > 1 ? info.modes : [];
  $("modes").replaceChildren(...choices.map((value) => element("label", {},
    element("input", { type: "radio", name: "mode", value, onchange: search }), element("span", {}, value))));
  $("modes").hidden = !choices.length;
  $("welcome").replaceChildren(...welcome(info));
}

async function start() {
  try {
    prepare(await call("/api/info"));
  } catch (error) { fail(error); return; }
  if ($("query").value) replace({ ...read(), q: $("query").value }); // typed meanwhile
  state.shown = null;
  await restore();
}

$("theme").addEventListener("click", () => {
  localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  setTheme();
});
$("form").addEventListener("submit", (event) => { event.preventDefault(); search(); });
for (const name of ["query", "path"]) {
  $(name).addEventListener("input", () => {
    clearTimeout(state.timer);
    state.timer = setTimeout(search, PAUSE);
  });
}
for (const name of ["language", "kind", "k"]) $(name).addEventListener("change", search);
$("home").addEventListener("click", () => $("query").focus());
onLeaving(() => { leaveDocument(); document.title = `${state.info.name} · mbert-search`; },
  () => read().doc !== undefined || read().id !== undefined);
listen((hit) => hit.querySelector("a.location").click());
addEventListener("popstate", restore);
await start();
