// The service does not answer: say so, and try again until it does.

import { element } from "./text.js";

const FIRST_PAUSE = 1000, LONGEST_PAUSE = 10000; // ms between two tries
let timer = null, pause = FIRST_PAUSE, whenBack = null;

// recover: called once the service answers again.
export function lost(recover) {
  whenBack = recover;
  if (timer !== null) return;
  const hits = document.getElementById("hits").childElementCount > 0;
  document.getElementById("notice").replaceChildren(
    element("b", {}, "The search service does not answer."),
    element("span", {}, "It may have been stopped, or the connection is down. "
      + (hits ? "The hits below are those of the last search. " : "")
      + "This page goes on by itself when the service is back."),
    element("button", { type: "button", onclick: () => { pause = FIRST_PAUSE; attempt(); } }, "Try now"));
  wait();
}

function wait() {
  timer = setTimeout(attempt, pause);
  pause = Math.min(2 * pause, LONGEST_PAUSE);
}

async function attempt() {
  clearTimeout(timer);
  try {
    const answer = await fetch("/health", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
  } catch { wait(); return; }
  timer = null;
  pause = FIRST_PAUSE;
  document.getElementById("notice").replaceChildren();
  whenBack();
}

addEventListener("online", () => { if (timer !== null) attempt(); });
