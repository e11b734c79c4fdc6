// The little that htmx and the browser do not do by themselves. No page needs it.

// Whoever has sent a form sees that it is on its way, and cannot send it twice.
document.addEventListener("submit", (event) => {
  const { target, submitter } = event;
  if (event.defaultPrevented || target.method !== "post") return;
  if (target.hasAttribute("aria-busy")) return event.preventDefault();
  target.setAttribute("aria-busy", "true");
  submitter?.setAttribute("aria-busy", "true");
});
// Back from the next page, the browser shows this one as it was left.
window.addEventListener("pageshow", () => {
  for (const busy of document.querySelectorAll("form[aria-busy], form [aria-busy]")) {
    busy.removeAttribute("aria-busy");
  }
});

// A form that came back leads to its first mistake.
document.querySelector('[aria-invalid="true"]')?.focus();

// A live part that did not change stays as it is: text that somebody has selected,
// a spinner in the middle of its turn.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.target.shown === detail.serverResponse) detail.shouldSwap = false;
  detail.target.shown = detail.serverResponse;
});
// What it has to say is said in a place that is never replaced, or nobody hears it.
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  const said = document.getElementById("say");
  const text = detail.target.querySelector("[data-say]")?.textContent.trim() ?? "";
  if (said.textContent !== text) said.textContent = text;
});
