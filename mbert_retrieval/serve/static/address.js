// The address of what is shown: the fragment, which no server sees, carries the search and the
// document that is open. {q, mode, language, kind, path, k, doc, line, id}; absent means default.

const DEFAULTS = { mode: "hybrid", k: "10" };

export const read = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

export function address(values) {
  const set = Object.entries(values).filter(([name, value]) => value && String(value) !== DEFAULTS[name]);
  return set.length ? `#${new URLSearchParams(set)}` : "#";
}

export function replace(values) {
  const fragment = address(values);
  history.replaceState(history.state, "", fragment === "#" ? location.pathname : fragment);
}

// A document opened from a hit: "back" and closing it both lead to the hits again.
export function push(values) {
  history.pushState({ opened: true }, "", address(values));
}

export function withoutDocument() {
  const { doc, line, id, ...search } = read();
  return search;
}

export function leaveDocument() {
  if (history.state?.opened) history.back();
  else replace(withoutDocument());
}
