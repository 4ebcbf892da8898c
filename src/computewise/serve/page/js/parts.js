// Helpers that the other scripts use.

const LIST_EVERY = 1000;
const TRACE_EVERY = 300;
const HIDDEN_EVERY = 10_000;
const LONGEST_WAIT = 10_000;
const KEPT_KEY = "computewise.key";
const MOVING = ["queued", "running"];
/** Strategies of a single answer, which take no budget. */
const LONE = ["single", "greedy"];
const STATUS = { queued: "queued", running: "running", done: "done", failed: "failed", cancelled: "cancelled", passed: "passed through" };

const at = (id) => document.getElementById(id);
const state = { server: null, traces: [], selected: location.hash.slice(1), detail: null, misses: 0, unknown: null, solving: new Set() };

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content.filter((one) => one !== null && one !== ""));
  return made;
}

function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
