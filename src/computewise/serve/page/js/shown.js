// The selected request.

function renderShown() {
  const known = state.detail?.id === state.selected && state.selected;
  const waiting = state.selected && state.unknown !== state.selected;
  show(at("request"), Boolean(known));
  show(at("empty"), !state.selected && !state.traces.length && state.server !== null);
  show(at("pick"), !known && !waiting && state.traces.length > 0);
  if (state.selected && state.unknown === state.selected) write(at("pick").firstChild, "This request is no longer kept. Select another");
}

function renderDetail() {
  const detail = state.detail;
  renderShown();
  write(at("question"), detail.question);
  at("question").classList.toggle("long", detail.question.length > 120);
  write(at("answer"), answerWords(detail));
  at("answer").classList.toggle("none", detail.answer === null);
  at("facts").replaceChildren(...facts(detail).map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", value))));
  at("notes").replaceChildren(...notes(detail));
  show(at("solution"), Boolean(detail.solution));
  write(at("solution").lastElementChild, detail.solution?.trim() ?? "");
  const drawn = detail.nodes.length > 0 || detail.decisions.length > 0;
  show(at("tree-title"), drawn);
  show(at("tree"), drawn);
  if (drawn) computewiseViewer.draw(at("tree"), detail);
}

function answerWords({ answer, status, decisions }) {
  if (answer !== null) return answer;
  if (MOVING.includes(status)) return status === "queued" ? "waiting for its turn…" : "searching…";
  if (status === "done") return decisions.at(-1)?.kind === "abstain" ? "abstained" : "no answer was found";
  return "";
}

function facts(detail) {
  const rows = [["Status", STATUS[detail.status] ?? detail.status], ["Strategy", howAsked(detail) || "–"], ["Time", `${duration(detail.seconds)}, at ${clock(detail.created)}`]];
  rows.push(["Cost", flops(detail.flops)]);
  rows.push(["Tokens", `${whole(detail.completion_tokens)} sampled, ${whole(detail.verifier_tokens)} verified`]);
  rows.push(["Generations", whole(detail.generations)]);
  if (isCompared(detail)) rows.push(["Compared", savedWords(detail.saved, detail.baseline.name)]);
  if (detail.confidence !== null) rows.push(["Confidence", detail.confidence.toFixed(2)]);
  if (detail.difficulty) rows.push(["Difficulty", `${detail.difficulty.estimate.toFixed(2)} (1 is the hardest), by ${whole(detail.difficulty.samples)} ${detail.difficulty.samples === 1 ? "sample" : "samples"}`]);
  rows.push(["Request", `${detail.endpoint === "chat" ? "chat completion" : "completion"}${detail.stream ? ", streamed" : ""}, ${detail.model}`]);
  return rows;
}

function notes(detail) {
  const said = [];
  if (detail.error) said.push(element("p", "trouble", detail.error));
  if (detail.why_passed) said.push(element("p", "note", `Passed through without a search: ${detail.why_passed}`));
  if (detail.truncated) said.push(element("p", "note", `${whole(detail.truncated)} nodes are not drawn: the tree is too large.`));
  if (detail.failures.length) {
    const list = element("ul", "", ...detail.failures.map((one) => element("li", "", one)));
    said.push(element("details", "note", element("summary", "", `${detail.failures.length} ${detail.failures.length === 1 ? "sample was" : "samples were"} lost`), list));
  }
  return said;
}

function hashChanged() {
  state.selected = location.hash.slice(1);
  state.unknown = null;
  write(at("pick").firstChild, "Select a request to see its search tree");
  for (const row of at("requests").children) {
    if (row.dataset.id === state.selected) row.firstChild.setAttribute("aria-current", "true");
    else row.firstChild.removeAttribute("aria-current");
  }
  renderShown();
  pollTrace();
}
