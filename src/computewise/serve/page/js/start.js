// Starts the page, after all other scripts.

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
