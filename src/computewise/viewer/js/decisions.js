// What a policy decided, draw by draw, and where it stopped.

/** Equal draws in a row of which only the first and the last are shown at once. */
const MOST_IN_A_ROW = 4;

const KINDS = { more: "more", switch: "switch", escalate: "escalate", stop: "stop", abstain: "abstain" };

function decisionsOf(detail, select) {
  const draws = detail.decisions.map((decision, place) => ({ decision, place })).filter(({ decision }) => decision.arm);
  const last = detail.decisions.at(-1);
  const list = element("ol", "cwv-draws");
  for (const run of runs(draws)) {
    if (run.length <= MOST_IN_A_ROW) {
      list.append(...run.map((one) => drawOf(one, select)));
      continue;
    }
    const between = run.slice(1, -1);
    const held = element("details", "", element("summary", "", `${between.length} more draws: ${run[0].decision.arm}`));
    held.dataset.key = `run-${run[0].place}`;
    held.append(element("ol", "cwv-draws", ...between.map((one) => drawOf(one, select))));
    list.append(drawOf(run[0], select), element("li", "cwv-between", held), drawOf(run.at(-1), select));
  }
  const parts = draws.length ? [element("h3", "", `Decisions (${draws.length})`), list] : [];
  if (last && !last.arm) parts.push(stopOf(last, detail.stopped));
  else if (detail.stopped) parts.push(element("p", "cwv-stop", detail.stopped));
  return parts;
}

function runs(draws) {
  const found = [];
  for (const one of draws) {
    const before = found.at(-1)?.at(-1)?.decision;
    if (before && before.arm === one.decision.arm && one.decision.kind === "more") found.at(-1).push(one);
    else found.push([one]);
  }
  return found;
}

function drawOf({ decision, place }, select) {
  const drawn = decision.drawn.map((one) => `${one.answer === null ? "none" : shortened(one.answer, 24)} (${one.value.toFixed(2)})`);
  const head = element(
    "span", "cwv-draw-head",
    element("span", `cwv-kind cwv-kind-${decision.kind}`, KINDS[decision.kind] ?? decision.kind), " ", element("b", "", decision.arm),
  );
  const body = [
    head,
    element("span", "cwv-why", decision.why),
    element("span", "cwv-drawn", drawn.length ? `drew ${drawn.join(", ")}` : "drawing…", decision.leader === null ? null : `; leader ${shortened(decision.leader, 24)}`),
  ];
  const button = element("button", "cwv-draw", ...body);
  button.type = "button";
  button.dataset.key = `draw-${place}`;
  button.disabled = !decision.nodes.length;
  button.addEventListener("click", () => select(decision.nodes));
  const item = element("li", "", button);
  item.value = place + 1;
  return item;
}

function stopOf(decision, stopped) {
  const heading = decision.kind === "abstain" ? "Abstained" : "Stopped";
  const leader = decision.leader === null ? "Nothing was leading." : `Leader ${decision.leader}, right with ${decision.confidence.toFixed(2)}.`;
  return element("div", "cwv-stop", element("b", "", heading), element("span", "", stopped || decision.why), element("span", "cwv-soft", leader));
}
