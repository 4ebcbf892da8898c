// What a node of the tree shows, and what it is called.

const LONGEST_TEXT = 140;
const ENDS = { length: "cut off", failed: "failed" };

function cardOf(item, isAnswer, right) {
  if (item.kind !== "node") return [element("span", "cwv-title", ...branchTitle(item))];
  const { node } = item;
  const text = element("span", "cwv-text");
  if (node.revises) text.append(briefDiff(node.diff, 6));
  else text.append(shortened(item.title, LONGEST_TEXT));
  const meta = element("span", "cwv-meta");
  if (node.value !== null) meta.append(scoreBar(node.value));
  else if (!node.end) meta.append(element("span", "cwv-soft", "not scored"));
  if (node.count > 1) meta.append(element("span", "cwv-count", `×${node.count}`));
  if (node.steps.length > 1) meta.append(element("span", "cwv-soft", plural(node.steps.length, "step")));
  const said = ending(item, isAnswer);
  if (said) meta.append(element("span", `cwv-end${isAnswer ? " cwv-is-answer" : ""}`, said));
  if (ENDS[node.end]) meta.append(element("span", "cwv-end cwv-bad", ENDS[node.end]));
  const verdict = verdictOf(node, right);
  if (verdict) meta.append(element("span", verdict === "right" ? "cwv-good" : "cwv-bad", verdict === "right" ? "✓ right" : "✗ wrong"));
  return [text, meta];
}

function branchTitle(item) {
  switch (item.kind) {
    case "root":
      return ["prompt"];
    case "arm":
      return [element("b", "", item.title), ` ${item.count} sampled`];
    case "answer":
      return [element("b", "", `→ ${shortened(item.title, 40)}`), ` ${plural(item.count, "sample")}, worth ${item.worth.toFixed(2)}`];
    case "more":
      return [`${item.count} more`];
    default:
      return [`${item.count} discarded`];
  }
}

/** What it answers; not again where its text is just that. */
function ending({ node, title }, isAnswer) {
  if (node.end !== "stop") return null;
  if (node.answer === null) return "no answer";
  const answer = shortened(node.answer, 40);
  if (isAnswer) return `★ answer ${answer}`;
  return !node.revises && title.trim() === node.answer ? null : `→ ${answer}`;
}

function verdictOf(node, right) {
  if (!right || node.end !== "stop") return null;
  return right.includes(node.answer) ? "right" : "wrong";
}

/** What a screen reader says of an item. */
function nameOf(item, isAnswer, right) {
  const { node } = item;
  if (!node) return item.kind === "root" ? `prompt: ${shortened(item.title, LONGEST_TEXT)}` : branchTitle(item).map((one) => one.textContent ?? one).join("");
  const verdict = verdictOf(node, right);
  return [
    shortened(item.title, LONGEST_TEXT),
    node.revises ? "a revision" : null,
    node.value === null ? null : `score ${node.value.toFixed(2)}`,
    node.count > 1 ? `${node.count} equal samples` : null,
    node.end === "stop" ? (node.answer === null ? "no answer" : `answers ${shortened(node.answer, 40)}`) : ENDS[node.end],
    verdict,
    isAnswer ? "this is the answer" : { chosen: "on the path to the answer", pruned: "discarded" }[node.state],
  ].filter(Boolean).join(", ");
}
