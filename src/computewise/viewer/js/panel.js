// Everything about the selected node.

function panelOf(item, isAnswer, detail, right) {
  if (!item.node) return branchPanel(item, detail);
  const { node } = item;
  const steps = [...before(item).map((step) => [step, true]), ...node.steps.map((step) => [step, false])];
  const list = element("ol", "cwv-steps", ...steps.map(([step, inherited]) => stepOf(step, inherited)));
  return [
    element("h3", "", headingOf(item, isAnswer)),
    facts(node, right),
    node.revises ? element("div", "", element("h4", "", "Against the attempt before"), wholeDiff(node.diff)) : null,
    steps.length ? element("div", "", element("h4", "", steps.length > node.steps.length ? "Solution so far" : "Steps"), list) : null,
  ].filter(Boolean);
}

function headingOf(item, isAnswer) {
  if (isAnswer) return "The answer";
  if (item.node.state === "pruned") return "Discarded";
  if (item.node.revises) return "A revision";
  return item.node.end ? "A candidate" : "A step";
}

/** The steps of the nodes it goes on from; a revision begins anew. */
function before(item) {
  const steps = [];
  for (let at = item; at.node && !at.node.revises; ) {
    at = at.parent;
    while (at.kind === "pruned" || at.kind === "more") at = at.parent;
    if (at.node) steps.unshift(...at.node.steps);
  }
  return steps;
}

function stepOf(step, inherited) {
  const numbers = element("span", "cwv-meta", step.score === null ? null : scoreBar(step.score));
  if (step.tokens) numbers.append(element("span", "cwv-soft", plural(step.tokens, "token")));
  return element("li", inherited ? "cwv-inherited" : "", element("span", "cwv-written", step.text.trim() || "(empty)"), numbers);
}

function facts(node, right) {
  const verdict = verdictOf(node, right);
  const list = element("dl", "cwv-facts");
  const add = (name, value) => list.append(element("div", "", element("dt", "", name), element("dd", "", value)));
  if (node.end === "stop") add("Answer", node.answer === null ? "none found" : verdict ? `${node.answer}, ${verdict}` : node.answer);
  if (node.end === "length") add("End", "cut off by a limit");
  if (node.end === "failed") add("End", "lost by its server");
  if (node.value !== null) add("Value", scoreBar(node.value));
  if (node.count > 1) add("Equal samples", String(node.count));
  if (node.tokens) add("Tokens sampled", String(node.tokens));
  if (node.arm) add("Drawn by", node.arm);
  add("Node", node.id);
  return list;
}

const BRANCHES = {
  arm: (item) => [item.title, `What the policy drew this way: ${item.count} sampled.`],
  answer: (item) => [`Answer ${item.title}`, `${plural(item.count, "sample")} with this answer; their values add up to ${item.worth.toFixed(2)}.`],
  more: (item) => [`${item.count} more`, "Candidates of less worth than those that are drawn."],
  pruned: (item) => [`${item.count} discarded`, "Sampled and paid for, but nothing that was selected from came of them."],
};

function branchPanel(item, detail) {
  if (item.kind !== "root") {
    const [heading, text] = BRANCHES[item.kind](item);
    return [element("h3", "", heading), element("p", "", text)];
  }
  const parts = [element("h3", "", "The prompt"), element("div", "cwv-written", item.title)];
  if (detail.solution) parts.push(element("h4", "", "The chosen solution"), element("div", "cwv-written", detail.solution.trim()));
  return parts;
}
