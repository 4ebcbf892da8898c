// Small pieces of a page. Whatever a model wrote becomes text, never markup.

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content.filter((one) => one !== null && one !== undefined && one !== ""));
  return made;
}

function plural(count, one, many) {
  return `${count} ${count === 1 ? one : many ?? `${one}s`}`;
}

function shortened(text, most) {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

/** A score in [0, 1] as a bar and a number; what lies outside is drawn at the nearer end. */
function scoreBar(score) {
  const fill = element("i", "");
  fill.style.width = `${100 * Math.min(Math.max(score, 0), 1)}%`;
  const bar = element("span", "cwv-bar", fill);
  bar.setAttribute("aria-hidden", "true");
  return element("span", "cwv-score", bar, element("span", "cwv-number", score.toFixed(2)));
}

const CHANGES = { "=": "span", "-": "del", "+": "ins" };

/** All of a diff. */
function wholeDiff(diff) {
  return element("div", "cwv-diff", ...diff.map(([op, text]) => element(CHANGES[op], "", text)));
}

/** What a diff changes, without what it keeps. */
function briefDiff(diff, most) {
  const changed = diff.filter(([op, text]) => op !== "=" && text.trim());
  if (!changed.length) return element("span", "cwv-brief", "unchanged");
  const parts = [];
  let kept = false;
  let taken = 0;
  for (const [op, text] of diff) {
    if (op === "=" || !text.trim()) {
      kept = kept || taken > 0;
      continue;
    }
    if (taken === most) {
      parts.push(" …");
      break;
    }
    if (kept) parts.push(" … ");
    kept = false;
    taken += 1;
    parts.push(element(CHANGES[op], "", shortened(text, 24)));
  }
  return element("span", "cwv-brief", ...parts);
}
