// Shared by both pages: calls of the service, and the theme.

import { element } from "./text.js";

// No service answers, or only a proxy before it.
export class Unreachable extends Error {}

export async function call(path, body, signal) {
  const headers = { Accept: "application/json" };
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer, value;
  try {
    answer = await fetch(path, {
      method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) });
    value = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable("the service does not answer");
  }
  if (answer.status === 401) { await askToken(); return call(path, body, signal); }
  if (!answer.ok) throw new Error(value.detail ?? answer.statusText);
  return value;
}

let pending = null;
function askToken() {
  pending ??= new Promise((resolve) => {
    const token = element("input", { type: "password", autocomplete: "off", "aria-label": "Token" });
    const dialog = element("dialog", { class: "asks" }, element("form", { method: "dialog" },
      element("h2", {}, "This index needs a token"),
      element("p", {}, "It is stored for this tab only."), token, element("button", {}, "Continue")));
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("token", token.value.trim());
      dialog.remove();
      pending = null;
      resolve();
    }, { once: true });
    document.body.append(dialog);
    dialog.showModal();
  });
  return pending;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
export function setTheme() {
  document.documentElement.dataset.theme =
    localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
}
dark.addEventListener("change", setTheme);
setTheme();
