// The form that starts a request from the page.

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
