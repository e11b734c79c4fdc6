// What is live: refresh, keys, dialogues. Every page works without it.
"use strict";
(() => {
  const INTERVAL = 2000;
  const body = document.body;
  const toggle = document.querySelector("[data-live-toggle]");
  let paused = sessionStorage.getItem("signal-tasks-paused") === "yes";

  const isBusy = () => document.hidden || document.querySelector("dialog[open]")
    || document.activeElement?.closest("#live form") || document.querySelector("#live details[open]");

  const refresh = () => htmx.ajax("GET", location.href, {
    target: "#live", select: "#live", swap: "outerHTML",
  });

  const show = () => {
    toggle.hidden = false;
    toggle.setAttribute("aria-pressed", String(!paused));
    toggle.textContent = paused ? "Paused" : "Live";
  };

  if (body.dataset.live === "yes" && toggle) {
    toggle.addEventListener("click", () => {
      paused = !paused;
      sessionStorage.setItem("signal-tasks-paused", paused ? "yes" : "no");
      show();
    });
    show();
    setInterval(() => { if (!paused && !isBusy()) refresh(); }, INTERVAL);
  }

  // The row that j and k have chosen stays chosen when the page refreshes itself.
  let row = -1;
  const rows = () => [...document.querySelectorAll("[data-row]")];
  const choose = (number) => {
    const all = rows();
    if (!all.length) return;
    row = Math.max(0, Math.min(number, all.length - 1));
    all.forEach((each, index) => each.classList.toggle("chosen", index === row));
    all[row].scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("htmx:afterSwap", () => { if (row >= 0) choose(row); });

  const keys = {
    "/": () => document.querySelector("[data-search]")?.focus(),
    "j": () => choose(row + 1),
    "k": () => choose(row - 1),
    "Enter": () => rows()[row]?.querySelector("a")?.click(),
    "r": refresh,
    "?": () => document.getElementById("keys").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, dialog");
    const opening = event.key === "Enter" && event.target.closest("a, button, summary");
    if (typing || opening || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });
})();
