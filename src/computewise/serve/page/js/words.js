// Formats numbers and times for a reader.

const PREFIXES = ["", " k", " M", " G", " T", " P", " E"];

function quantity(value) {
  if (value === 0) return "0 ";
  const step = Math.min(Math.max(Math.floor(Math.log10(Math.abs(value)) / 3), 0), PREFIXES.length - 1);
  return `${Number((value / 1000 ** step).toPrecision(3))}${PREFIXES[step] || " "}`;
}

/** A model whose size nobody knows has no count of operations. */
const flops = (value) => (value === null ? "FLOPs unknown" : `${quantity(value)}FLOP`);
const whole = (value) => value.toLocaleString("en");
const percent = (value) => `${value < 0 ? "−" : ""}${Math.abs(100 * value).toFixed(Math.abs(value) < 0.1 ? 1 : 0)} %`;
const duration = (seconds) => (seconds < 10 ? `${seconds.toFixed(1)} s` : seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);
const clock = (created) => new Date(1000 * created).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** Whether the cost of a request can be compared; not while it is running. */
function isCompared({ baseline, saved, status }) {
  return baseline !== null && saved !== null && !MOVING.includes(status);
}

function savedWords(saved, baseline) {
  if (Math.abs(saved) < 0.0005) return `as much as ${baseline}`;
  return saved < 0 ? `${percent(-saved)} more than ${baseline}` : `${percent(saved)} less than ${baseline}`;
}
