// The service's own description (/openapi.json), to read.

import { element } from "./text.js";
import { call, setTheme } from "./common.js";

setTheme();
let schemas = {};

const named = (schema) => schema?.$ref ? schemas[schema.$ref.split("/").pop()] : schema;

function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(kind).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `[${kind(schema.items) || schema.prefixItems?.map(kind).join(", ")}]`;
  return schema.type ?? "any";
}

function limits(schema) {
  const one = schema.anyOf?.[0] ?? schema;
  const told = [["minimum", "from"], ["maximum", "to"], ["minLength", "at least"], ["maxLength", "at most"],
    ["minItems", "at least"], ["maxItems", "at most"]]
    .filter(([key]) => one[key] !== undefined)
    .map(([key, word]) => `${word} ${one[key].toLocaleString("en")}${/Length/.test(key) ? " characters" : ""}`);
  if (schema.default !== undefined && schema.default !== null && schema.default !== "") told.push(`default ${JSON.stringify(schema.default)}`);
  return told.join(", ");
}

function fields(rows) {
  return element("table", {}, element("tbody", {}, ...rows.map(([name, schema, required]) =>
    element("tr", {}, element("td", {}, name), element("td", {}, kind(schema)),
      element("td", {}, [required ? "required" : "", limits(schema), schema.description ?? ""].filter(Boolean).join(". "))))));
}

function of(schema) {
  const found = named(schema);
  return Object.entries(found?.properties ?? {}).map(([name, each]) =>
    [name, each, found.required?.includes(name)]);
}

function example(schema) {
  const found = named(schema);
  if (found?.default !== undefined && found.default !== null) return found.default;
  if (found?.type === "array") return [example(found.items)];
  if (found?.properties) {
    return Object.fromEntries((found.required ?? []).map((name) => [name, example(found.properties[name])]));
  }
  return { integer: 1, number: 1, boolean: false }[found?.type] ?? "…";
}

function operation(path, verb, told) {
  const body = told.requestBody?.content["application/json"].schema;
  const answer = told.responses["200"]?.content?.["application/json"]?.schema;
  const asked = (told.parameters ?? []).map((each) =>
    [each.name, { description: each.description, ...each.schema }, each.required]);
  const query = asked.length ? `?${asked.map(([name]) => `${name}=…`).join("&")}` : "";
  const command = [`curl '${location.origin}${path}${query}'`,
    ...(verb === "post" && !body ? ["-X POST"] : []),
    ...(body ? ["-H 'Content-Type: application/json'", `-d '${JSON.stringify(example(body))}'`] : [])];
  const errors = Object.entries(told.responses).filter(([status]) => status !== "200")
    .map(([status, each]) => `${status} ${each.description}`);
  return element("article", {},
    element("h2", {}, element("span", { class: `verb ${verb}` }, verb.toUpperCase()), path),
    element("p", {}, told.description ?? ""),
    asked.length || body ? fields([...asked, ...(body ? of(body) : [])]) : null,
    element("pre", {}, command.join(" \\\n  ")),
    answer ? element("details", {}, element("summary", {}, `Answer: ${kind(answer)}`), fields(of(answer))) : null,
    errors.length ? element("details", {}, element("summary", {}, "Errors"),
      element("div", {}, ...errors.map((each) => element("div", {}, each)))) : null);
}

try {
  const told = await call("/openapi.json");
  schemas = told.components.schemas;
  document.getElementById("status").append("Machines read ",
    element("a", { href: "/openapi.json" }, "/openapi.json"), `, OpenAPI ${told.openapi}.`);
  document.getElementById("operations").append(...Object.entries(told.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, each]) => operation(path, verb, each))));
} catch (error) { document.getElementById("status").textContent = error.message; }
