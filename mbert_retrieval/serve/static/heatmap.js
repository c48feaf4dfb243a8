// A heat map of late interaction: tokens of the query (rows) against tokens of the text (columns).

import { element } from "./text.js";

const CELL = 16; // pixels
const MOST_COLUMNS = 400; // beyond, those that match best

// How much better a score is than the row's average, from 0 to 1.
export function warmth(score, average) {
  return Math.min(1, Math.max(0, (score - average) / (1 - Math.min(average, 0.99))));
}

// The columns to show, and how many there are: all, or content tokens.
export function columnsOf(table, averages, everything) {
  const columns = table.spans.map((_, column) => column).filter((column) => everything || table.text_content[column]);
  const total = columns.length;
  if (total <= MOST_COLUMNS) return { columns, total };
  const best = (column) => Math.max(...table.scores.map((row, y) => warmth(row[column], averages[y])));
  const warmest = columns.map((column) => [best(column), column]).sort((a, b) => b[0] - a[0]).slice(0, MOST_COLUMNS);
  return { columns: warmest.map(([, column]) => column).sort((a, b) => a - b), total };
}

// rows: indexes of the query's tokens. choose(row): called when a row is pressed.
export function heatMap(matches, rows, averages, everything, choose) {
  const { table } = matches;
  const characters = [...matches.text];
  const { columns, total } = columnsOf(table, averages, everything);
  const name = (column) => characters.slice(...table.spans[column]).join("").trim() || "␣";
  const canvas = element("canvas", { width: columns.length * CELL, height: rows.length * CELL, role: "img",
    "aria-label": "Heat map; the list above has the best match of each token" });
  const tip = element("p", { class: "hint tip" }, "Point at a cell, or tap it, for its score.");
  const paint = () => {
    const brush = canvas.getContext("2d");
    const hue = getComputedStyle(canvas).getPropertyValue("--heat");
    brush.clearRect(0, 0, canvas.width, canvas.height);
    rows.forEach((row, y) => columns.forEach((column, x) => {
      brush.fillStyle = `rgb(${hue} / ${0.05 + 0.95 * warmth(table.scores[row][column], averages[row]) ** 1.3})`;
      brush.fillRect(x * CELL, y * CELL, CELL - 1, CELL - 1);
    }));
  };
  requestAnimationFrame(paint);
  new MutationObserver(paint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const at = (event) => [columns[Math.floor(event.offsetX / CELL)], rows[Math.floor(event.offsetY / CELL)]];
  const say = (event) => {
    const [column, row] = at(event);
    const score = table.scores[row]?.[column];
    if (score !== undefined) tip.textContent = `${table.query[row]} · ${name(column)}   ${score.toFixed(2)}`;
  };
  canvas.addEventListener("pointermove", say);
  canvas.addEventListener("click", (event) => { say(event); choose(at(event)[1]); });
  const labels = (of, className) => element("div", { class: className, "aria-hidden": "true" },
    ...of.map((label) => element("div", { title: label }, element("span", {}, label))));
  const height = Math.min(78, 8 + 6.7 * Math.max(...columns.map((column) => name(column).length)));
  return [
    legend(),
    element("div", { class: "grid", "--label": `${height}px` }, labels(rows.map((row) => table.query[row]), "names"),
      element("div", { class: "map", tabindex: 0, role: "group", "aria-label": "Heat map" },
        labels(columns.map(name), "columns"), canvas)),
    tip,
    total > columns.length ? element("p", { class: "hint" },
      `The ${columns.length} warmest of ${total.toLocaleString("en")} tokens of the text.`) : null,
  ];
}

function legend() {
  return element("div", { class: "legend" }, element("span", {}, "average of its row"), element("i"),
    element("span", {}, "1.00 (equal)"));
}
