// Polls the server, and shows errors.

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

/** Show an error of the whole page; for a missing or wrong key, show the form for it. */
function trouble(refused) {
  const locked = refused?.status === 401;
  if (locked && sessionStorage.getItem(KEPT_KEY)) at("key-form").firstElementChild.textContent = "The server refused this key.";
  show(at("key-form"), locked);
  show(at("trouble"), Boolean(refused) && !locked);
  if (refused && !locked) write(at("trouble"), refused.message);
}

/** Repeat `work`, `delay()` ms after it ended; returns a function that runs it at once. */
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

/** Poll more often after a request was sent, until it is in the list. */
function listEvery() {
  if (document.hidden) return HIDDEN_EVERY;
  return [...state.solving].some((id) => !state.traces.some((one) => one.id === id)) ? TRACE_EVERY : LIST_EVERY;
}

/** Fetch the selected request until it has ended, and again when the list has a newer version of it. */
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
