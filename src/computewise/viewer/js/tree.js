// From the flat list of nodes to the tree that is drawn: arms, answers and folds are branches of their own.

/** Siblings that are drawn; the others are behind one branch. */
const MOST_SIBLINGS = 12;
/** Whole samples from which on those of one answer are one branch: it is what they vote by. */
const MANY_SAMPLES = 8;

const STATES = ["chosen", "kept", "open", "pruned"];

/**
 * The root. An item is { id, kind, node, title, children, parent, state, count }: `kind` is "root", "arm", "answer",
 * "pruned", "more" or "node"; only the last has a node; `count` are the samples in it and under it.
 */
function treeOf(detail) {
  const root = { id: "/", kind: "root", node: null, title: detail.question || detail.prompt || "", children: [] };
  const items = new Map();
  for (const node of detail.nodes) {
    items.set(node.id, { id: node.id, kind: "node", node, title: titleOf(node), children: [] });
  }
  for (const node of detail.nodes) (items.get(node.parent) ?? root).children.push(items.get(node.id));
  root.children = byArm(root.children, detail);
  finish(root, null);
  return root;
}

function titleOf(node) {
  const last = node.steps.at(-1);
  if (last) return last.text;
  return node.end === "failed" ? "nothing came" : "ends here";
}

/** Children by the arm that drew them, where there were several arms. */
function byArm(children, detail) {
  const arms = new Map(detail.decisions.filter((one) => one.arm).map((one) => [one.arm, []]));
  for (const child of children) {
    const arm = child.node.arm ?? "";
    arms.set(arm, [...(arms.get(arm) ?? []), child]);
  }
  const drawn = [...arms].filter(([, held]) => held.length);
  if (drawn.length < 2) return children;
  return drawn.map(([arm, held]) => ({ id: `/arm/${arm}`, kind: "arm", node: null, title: arm || "other", children: held }));
}

/** Count, state and parent of an item and all under it; then what is too much is put behind branches. */
function finish(item, parent) {
  item.parent = parent;
  if (parent === null || item.kind === "arm") item.children = byAnswer(item.id, item.children);
  for (const child of item.children) finish(child, item);
  item.count = (item.node?.count ?? 0) + item.children.reduce((sum, child) => sum + child.count, 0);
  item.state = item.node?.state ?? strongest(item.children);
  item.children = folded(item);
}

function strongest(items) {
  return STATES.find((state) => items.some((item) => item.state === state)) ?? "open";
}

/** Whole samples with one answer as one branch, the branch of the highest sum of values first. */
function byAnswer(id, children) {
  const whole = (child) => child.kind === "node" && child.node.end === "stop" && !child.children.length;
  if (children.filter(whole).length <= MANY_SAMPLES) return children;
  const answers = new Map();
  for (const child of children) {
    if (whole(child) && child.node.answer !== null && child.node.state !== "pruned") {
      answers.set(child.node.answer, [...(answers.get(child.node.answer) ?? []), child]);
    }
  }
  const alone = children.filter((child) => !(answers.get(child.node?.answer)?.length > 1 && whole(child)));
  const branches = [...answers]
    .filter(([, held]) => held.length > 1)
    .map(([answer, held]) => ({
      id: `${id}/answer/${answer}`, kind: "answer", node: null, title: answer, children: held, worth: worthOf(held),
    }));
  branches.sort((a, b) => b.worth - a.worth);
  const chosen = (item) => [item, ...item.children].some((one) => one.node?.state === "chosen");
  const all = [...branches, ...alone];
  return [...all.filter(chosen), ...all.filter((item) => !chosen(item))];
}

function worthOf(items) {
  return items.reduce((sum, item) => sum + item.node.count * (item.node.value ?? 0), 0);
}

function folded(item) {
  const pruned = item.children.filter((child) => child.state === "pruned");
  const live = item.children.filter((child) => child.state !== "pruned");
  if (item.kind === "pruned" || item.kind === "more" || item.node?.state === "pruned") return item.children;
  const most = live.length > MOST_SIBLINGS + 1 ? MOST_SIBLINGS : live.length;
  const shown = live.slice(0, most);
  const behind = [["more", live.slice(most)], ["pruned", pruned]].filter(([, held]) => held.length);
  for (const [kind, held] of behind) {
    const fold = { id: `${item.id}/${kind}`, kind, node: null, title: "", children: held, parent: item };
    for (const child of held) child.parent = fold;
    fold.count = held.reduce((sum, child) => sum + child.count, 0);
    fold.state = strongest(held);
    shown.push(fold);
  }
  return shown;
}

function opensByItself(item) {
  if (item.kind === "root") return true;
  if (item.kind === "pruned" || item.kind === "more") return false;
  if (item.kind === "arm" || item.kind === "answer") return item.state === "chosen" || item.state === "open";
  return item.state !== "pruned";
}

/** Depth first. */
function* walk(item) {
  yield item;
  for (const child of item.children) yield* walk(child);
}

/** The item of the answer: the last that is on the chosen path. */
function answerItem(root) {
  let found = null;
  for (const item of walk(root)) if (item.node?.state === "chosen") found = deeper(found, item);
  return found;
}

function deeper(one, other) {
  const depth = (item) => (item ? 1 + depth(item.parent) : 0);
  return depth(other) > depth(one) ? other : one;
}
