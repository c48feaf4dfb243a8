// Show the OpenAPI description of the service (/openapi.json).

import { element } from "./text.js";
import { call } from "./common.js";

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
  const parts = [["minimum", "from"], ["maximum", "to"], ["minLength", "at least"], ["maxLength", "at most"],
    ["minItems", "at least"], ["maxItems", "at most"]]
    .filter(([key]) => one[key] !== undefined)
    .map(([key, word]) => `${word} ${one[key].toLocaleString("en")}${/Length/.test(key) ? " characters" : ""}`);
  if (schema.default !== undefined && schema.default !== null && schema.default !== "") parts.push(`default ${JSON.stringify(schema.default)}`);
  return parts.join(", ");
}

function fields(rows) {
  return element("table", {}, element("tbody", {}, ...rows.map(([name, schema, required]) =>
    element("tr", {}, element("td", {}, name), element("td", {}, kind(schema)),
      element("td", {}, [required ? "required" : "", limits(schema), schema.description ?? ""].filter(Boolean).join(". "))))));
}

function of(schema) {
  const resolved = named(schema);
  return Object.entries(resolved?.properties ?? {}).map(([name, each]) =>
    [name, each, resolved.required?.includes(name)]);
}

function example(schema) {
  const resolved = named(schema);
  if (resolved?.default !== undefined && resolved.default !== null) return resolved.default;
  if (resolved?.type === "array") return [example(resolved.items)];
  if (resolved?.properties) {
    return Object.fromEntries((resolved.required ?? []).map((name) => [name, example(resolved.properties[name])]));
  }
  return { integer: 1, number: 1, boolean: false }[resolved?.type] ?? "…";
}

function operation(path, verb, description) {
  const body = description.requestBody?.content["application/json"].schema;
  const answer = description.responses["200"]?.content?.["application/json"]?.schema;
  const parameters = (description.parameters ?? []).map((each) =>
    [each.name, { description: each.description, ...each.schema }, each.required]);
  const query = parameters.length ? `?${parameters.map(([name]) => `${name}=…`).join("&")}` : "";
  const command = [`curl '${location.origin}${path}${query}'`,
    ...(verb === "post" && !body ? ["-X POST"] : []),
    ...(body ? ["-H 'Content-Type: application/json'", `-d '${JSON.stringify(example(body))}'`] : [])];
  const errors = Object.entries(description.responses).filter(([status]) => status !== "200")
    .map(([status, each]) => `${status} ${each.description}`);
  return element("article", {},
    element("h2", {}, element("span", { class: `verb ${verb}` }, verb.toUpperCase()), path),
    element("p", {}, description.description ?? ""),
    parameters.length || body ? fields([...parameters, ...(body ? of(body) : [])]) : null,
    element("pre", {}, command.join(" \\\n  ")),
    answer ? element("details", {}, element("summary", {}, `Answer: ${kind(answer)}`), fields(of(answer))) : null,
    errors.length ? element("details", {}, element("summary", {}, "Errors"),
      element("div", {}, ...errors.map((each) => element("div", {}, each)))) : null);
}

try {
  const openapi = await call("/openapi.json");
  schemas = openapi.components.schemas;
  document.getElementById("status").append("For programs: ",
    element("a", { href: "/openapi.json" }, "/openapi.json"), `, OpenAPI ${openapi.openapi}.`);
  document.getElementById("operations").append(...Object.entries(openapi.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, each]) => operation(path, verb, each))));
} catch (error) { document.getElementById("status").textContent = error.message; }
