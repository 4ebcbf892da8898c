"use strict";
(() => {
  const LIST_EVERY = 1000;
  const TRACE_EVERY = 300;
  const HIDDEN_EVERY = 10_000;
  const LONGEST_WAIT = 10_000;
  const KEPT_KEY = "computewise.key";
  const MOVING = ["queued", "running"];
  /** Strategies that are one answer, whatever is to be spent. */
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

  // Numbers

  const PREFIXES = ["", " k", " M", " G", " T", " P", " E"];

  function quantity(value) {
    if (value === 0) return "0 ";
    const step = Math.min(Math.max(Math.floor(Math.log10(Math.abs(value)) / 3), 0), PREFIXES.length - 1);
    return `${Number((value / 1000 ** step).toPrecision(3))}${PREFIXES[step] || " "}`;
  }

  const flops = (value) => `${quantity(value)}FLOP`;
  const whole = (value) => value.toLocaleString("en");
  const percent = (value) => `${value < 0 ? "−" : ""}${Math.abs(100 * value).toFixed(Math.abs(value) < 0.1 ? 1 : 0)} %`;
  const duration = (seconds) => (seconds < 10 ? `${seconds.toFixed(1)} s` : seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);
  const clock = (created) => new Date(1000 * created).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

  /** What is still running has saved nothing yet. */
  function isCompared({ baseline, saved, status }) {
    return baseline !== null && saved !== null && !MOVING.includes(status);
  }

  function savedWords(saved, baseline) {
    if (Math.abs(saved) < 0.0005) return `as much as ${baseline}`;
    return saved < 0 ? `${percent(-saved)} more than ${baseline}` : `${percent(saved)} less than ${baseline}`;
  }

  // The server

  class Refused extends Error {
    constructor(status, message) {
      super(message);
      this.status = status;
    }
  }

  async function ask(path, options = {}) {
    const key = sessionStorage.getItem(KEPT_KEY);
    const headers = { ...options.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
    let answer;
    try {
      answer = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch {
      throw new Refused(0, "The server does not answer.");
    }
    if (answer.status === 204) return null;
    const body = await answer.json().catch(() => null);
    if (answer.ok) return body;
    throw new Refused(answer.status, inWords(answer, body));
  }

  function inWords(answer, body) {
    const said = body?.error?.message ?? `The server answered ${answer.status} ${answer.statusText}.`;
    if (answer.status !== 429) return said;
    const wait = answer.headers.get("retry-after");
    return `Too many requests at once: ${said}${wait ? ` Try again in ${wait} s.` : ""}`;
  }

  /** What is wrong with the whole page; a missing or wrong key asks for one. */
  function trouble(refused) {
    const locked = refused?.status === 401;
    if (locked && sessionStorage.getItem(KEPT_KEY)) at("key-form").firstElementChild.textContent = "The server refused this key.";
    show(at("key-form"), locked);
    show(at("trouble"), Boolean(refused) && !locked);
    if (refused && !locked) write(at("trouble"), refused.message);
  }

  /** Do `work` again and again, `delay()` ms after it ended; the function that is returned does it at once. */
  function repeat(work, delay) {
    let timer = null;
    let busy = false;
    let again = false;
    async function run() {
      if (busy) {
        again = true;
        return;
      }
      busy = true;
      clearTimeout(timer);
      try {
        await work();
      } catch (refused) {
        if (!(refused instanceof Refused)) throw refused;
      } finally {
        busy = false;
        timer = setTimeout(run, again ? 0 : delay());
        again = false;
      }
    }
    return run;
  }

  const pollList = repeat(
    async () => {
      try {
        const { server, traces } = await ask("/traces?limit=100");
        state.traces = traces;
        state.misses = 0;
        trouble(null);
        if (!state.server) serverKnown(server);
        state.server = server;
      } catch (refused) {
        state.misses += 1;
        trouble(refused);
        throw refused;
      }
      renderList();
      renderTotals();
      renderShown();
    },
    () => Math.min(listEvery() * 2 ** state.misses, LONGEST_WAIT),
  );

  /** What was just asked is looked for more often, until it is in the list. */
  function listEvery() {
    if (document.hidden) return HIDDEN_EVERY;
    return [...state.solving].some((id) => !state.traces.some((one) => one.id === id)) ? TRACE_EVERY : LIST_EVERY;
  }

  /** The selected request, until it has ended; then again where the list says that it has a newer version. */
  const pollTrace = repeat(
    async () => {
      const id = state.selected;
      const known = state.detail?.id === id ? state.detail : null;
      const listed = state.traces.find((one) => one.id === id);
      if (!listed && state.solving.has(id)) return;
      const due = id && (!known || MOVING.includes(known.status) || (listed && listed.version !== known.version));
      if (!due || (document.hidden && known)) return;
      try {
        const detail = await ask(`/traces/${encodeURIComponent(id)}${known ? `?since=${known.version}` : ""}`);
        if (!detail || state.selected !== id) return;
        const first = !known;
        state.detail = detail;
        state.unknown = null;
        renderDetail();
        if (first && at("request").getBoundingClientRect().top > innerHeight / 2) at("request").scrollIntoView();
      } catch (refused) {
        if (refused.status === 404) state.unknown = id;
        renderShown();
        throw refused;
      }
    },
    () => (state.unknown === state.selected || state.misses ? LIST_EVERY : TRACE_EVERY),
  );

  // Asking

  function serverKnown({ model, large, verifier, policy, embedded, example, strategies, efforts }) {
    const parts = [`model ${model}`, large ? `larger model ${large}` : null, verifier ? `verifier ${verifier}` : "no verifier", policy ? "policy loaded" : "no policy", embedded ? "built in" : null];
    write(at("server"), parts.filter(Boolean).join(" · "));
    const how = at("how");
    if (policy) how.append(...Object.keys(efforts).map((name) => new Option(`policy, ${name} effort`, `policy/${name}`, name === "medium", name === "medium")));
    how.append(...strategies.map((name) => new Option(name.replaceAll("_", " "), name)));
    if (!at("prompt").value) at("prompt").value = example ?? "";
    howChanged();
    at("go").disabled = false;
    const key = sessionStorage.getItem(KEPT_KEY) ? ' \\\n  -H "Authorization: Bearer $KEY"' : "";
    const body = JSON.stringify({ model, messages: [{ role: "user", content: example || "What is 17 * 23?" }] });
    write(at("curl"), `curl ${location.origin}/v1/chat/completions \\\n  -H "content-type: application/json"${key} \\\n  -d '${body}'`);
  }

  function howChanged() {
    const sized = !at("how").value.includes("/") && !LONE.includes(at("how").value);
    show(at("budget-field"), sized);
    at("budget").disabled = !sized;
  }

  function newId() {
    return `page-${Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join("")}`;
  }

  async function solve(event) {
    event.preventDefault();
    const [how, effort] = at("how").value.split("/");
    const id = newId();
    const body = {
      model: state.server.model,
      messages: [{ role: "user", content: at("prompt").value }],
      computewise: { strategy: at("budget").disabled ? how : `${how}@${at("budget").value}` },
      ...(effort ? { reasoning_effort: effort } : {}),
    };
    show(at("refused"), false);
    state.solving.add(id);
    location.hash = id;
    try {
      const asked = ask("/v1/chat/completions", {
        method: "POST",
        headers: { "content-type": "application/json", "x-request-id": id },
        body: JSON.stringify(body),
      });
      pollList();
      await asked;
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      write(at("refused"), refused.message);
      show(at("refused"), true);
      if (refused.status === 401) trouble(refused);
    } finally {
      state.solving.delete(id);
      pollList();
      pollTrace();
    }
  }

  // The list

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
    const spent = state.traces.reduce((sum, one) => sum + one.flops, 0);
    const compared = state.traces.filter(isCompared);
    const would = compared.reduce((sum, one) => sum + one.baseline.flops, 0);
    const did = compared.reduce((sum, one) => sum + one.flops, 0);
    const parts = [`${state.traces.length === 100 ? "last 100" : state.traces.length} ${state.traces.length === 1 ? "request" : "requests"}`, `${flops(spent)} spent`];
    if (would) parts.push(`saved ${percent(1 - did / would)} against best-of-N`);
    write(at("totals"), state.traces.length ? parts.join(" · ") : "");
  }

  // The selected request

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

  at("solve").addEventListener("submit", solve);
  at("how").addEventListener("change", howChanged);
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEPT_KEY, at("key").value);
    at("key").value = "";
    pollList();
    pollTrace();
  });
  addEventListener("hashchange", hashChanged);
  document.addEventListener("visibilitychange", () => document.hidden || (pollList(), pollTrace()));
  pollList();
  pollTrace();
})();
