// What htmx and the browser do not do by themselves. Every page works without it.

// Show that a form is being sent, and do not send it twice.
document.addEventListener("submit", (event) => {
  const { target, submitter } = event;
  if (event.defaultPrevented || target.method !== "post") return;
  if (target.hasAttribute("aria-busy")) return event.preventDefault();
  target.setAttribute("aria-busy", "true");
  submitter?.setAttribute("aria-busy", "true");
});
// After the back button, the browser shows the page as it was left.
window.addEventListener("pageshow", () => {
  for (const busy of document.querySelectorAll("form[aria-busy], form [aria-busy]")) {
    busy.removeAttribute("aria-busy");
  }
});

// Focus the first wrong field of a form.
document.querySelector('[aria-invalid="true"]')?.focus();

// Do not replace a live part that did not change: keep selected text and animations.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.target.shown === detail.serverResponse) detail.shouldSwap = false;
  detail.target.shown = detail.serverResponse;
});
// Copy its announcement to an element that is never replaced: screen readers need that.
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  const said = document.getElementById("say");
  const text = detail.target.querySelector("[data-say]")?.textContent.trim() ?? "";
  if (said.textContent !== text) said.textContent = text;
});
