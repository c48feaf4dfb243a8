// What stands where no hits are: a welcome with queries to try, and help when a search has no hits.

import { element } from "./text.js";
import { call } from "./common.js";
import { address } from "./address.js";

const LEGS = { late: "late interaction", dense: "dense vectors", lexical: "words" };
const FILTERS = ["language", "kind", "path"];

const links = (items) => element("ul", { class: "links" },
  ...items.map(([text, values, label]) =>
    element("li", {}, element("a", { href: address(values), "aria-label": label }, text))));

export function welcome(info) {
  const parts = Object.entries(info.parts).map(([name, made]) => [LEGS[name] ?? name, made]);
  return [
    element("h1", {}, info.name),
    element("div", {}, "Ask as you would ask a colleague, or paste an identifier."),
    info.examples.length ? element("div", { class: "examples" }, element("h2", {}, "Try one of these, from the index itself"),
      links(info.examples.map((query) => [query, { q: query }]))) : null,
    element("div", { class: "parts" },
      ...[["passages", info.passages.toLocaleString("en")], ...parts].map(([name, value]) =>
        element("div", { class: "part" }, element("b", {}, value), element("span", {}, name)))),
  ].filter(Boolean);
}

// search: values of the address, of a search without hits.
export async function help(search) {
  const set = FILTERS.filter((name) => search[name]);
  const without = (names) => Object.fromEntries(Object.entries(search).filter(([name]) => !names.includes(name)));
  const advice = [];
  const corrected = corrections(search.q, (await spelling(search.q)));
  if (corrected.length) {
    advice.push(["Spelled like words of the index", links(corrected.map((q) => [q, { ...search, q }]))]);
  }
  if (set.length) {
    const all = set.length > 1 ? [["remove all", without(set)]] : [];
    advice.push(["Filters in force", links([
      ...set.map((name) => [`${name}: ${search[name]} ×`, without([name]), `Remove the filter ${name}: ${search[name]}`]), ...all])]);
  }
  if (search.mode === "lexical") { // there is another mode, or the address would not say so
    advice.push(["Search wider", links([["by meaning too", { ...search, mode: "hybrid" }]])]);
  }
  advice.push(["Or", element("p", {}, "use fewer words, other words for the same thing, or a part of an identifier.")]);
  return [
    element("h2", {}, `No hits for “${search.q}”`),
    element("dl", {}, ...advice.flatMap(([title, content]) =>
      [element("dt", {}, title), element("dd", {}, content)])),
  ];
}

async function spelling(query) {
  try {
    return (await call(`/api/spelling?query=${encodeURIComponent(query)}`)).words;
  } catch { return {}; } // it only adds to the help
}

// The query with each unknown word replaced; for a single one, by each of its candidates.
function corrections(query, words) {
  const unknown = Object.keys(words);
  const choices = unknown.length === 1 ? words[unknown[0]].map((_, rank) => rank) : unknown.length ? [0] : [];
  return choices.map((rank) => unknown.reduce((text, word) => text.replaceAll(word, words[word][rank]), query));
}
