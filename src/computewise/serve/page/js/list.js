// The list of recent requests, and their totals.

function renderList() {
  const list = at("requests");
  const rows = new Map([...list.children].map((row) => [row.dataset.id, row]));
  const ids = new Set(state.traces.map((one) => one.id));
  for (const [id, row] of rows) if (!ids.has(id)) row.remove();
  state.traces.forEach((trace, place) => {
    const row = rows.get(trace.id) ?? newRow(trace.id);
    if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
    fillRow(row, trace);
  });
}

function newRow(id) {
  const link = element("a", "");
  link.href = `#${id}`;
  const row = element("li", "", link);
  row.dataset.id = id;
  return row;
}

function fillRow(row, trace) {
  const link = row.firstChild;
  if (trace.id === state.selected) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
  const key = `${trace.version}/${trace.status}/${trace.seconds.toFixed(1)}`;
  if (row.dataset.shows === key) return;
  row.dataset.shows = key;
  const spent = [flops(trace.flops), `${whole(trace.completion_tokens)} tokens`];
  if (isCompared(trace)) spent.push(`saved ${percent(trace.saved)}`);
  const sure = trace.confidence === null ? "" : `sure ${trace.confidence.toFixed(2)} · `;
  link.replaceChildren(
    line(element("span", "start", trace.prompt.replace(/\s+/g, " ")), element("b", "result", trace.answer ?? "")),
    line(
      element("span", `status status-${trace.status}`, STATUS[trace.status] ?? trace.status),
      element("span", "strategy", howAsked(trace)),
      element("span", "soft", `${sure}${duration(trace.seconds)}`),
    ),
    line(element("span", "spent soft", spent.join(" · ")), element("span", "soft", clock(trace.created))),
  );
}

function line(...parts) {
  return element("span", "line", ...parts);
}

function howAsked({ strategy, effort }) {
  return [strategy, effort ? `${effort} effort` : null].filter(Boolean).join(", ");
}

function renderTotals() {
  const spent = state.traces.some((one) => one.flops === null) ? null : state.traces.reduce((sum, one) => sum + one.flops, 0);
  const compared = state.traces.filter(isCompared);
  const would = compared.reduce((sum, one) => sum + one.baseline.flops, 0);
  const did = compared.reduce((sum, one) => sum + one.flops, 0);
  const parts = [`${state.traces.length === 100 ? "last 100" : state.traces.length} ${state.traces.length === 1 ? "request" : "requests"}`, spent === null ? flops(spent) : `${flops(spent)} spent`];
  if (would) parts.push(`saved ${percent(1 - did / would)} against best-of-N`);
  write(at("totals"), state.traces.length ? parts.join(" · ") : "");
}
