// Live pages and keys. Every page works without it.
"use strict";
(() => {
  const INTERVAL = 2000;
  const toggle = document.querySelector("[data-live-toggle]");
  const isLive = document.body.dataset.live === "yes";
  let paused = sessionStorage.getItem("signal-tasks-paused") === "yes";
  let failed = false;
  const live = () => document.getElementById("live");

  const show = () => {
    toggle.hidden = false;
    toggle.setAttribute("aria-pressed", String(!paused));
    toggle.classList.toggle("failed", failed && !paused);
    toggle.textContent = paused ? "Paused" : failed ? "Not refreshed" : "Live";
  };

  // Who marks text to copy it, fills in a form or has a dialogue open, is not disturbed.
  const isFilledIn = () => [...document.querySelectorAll("#live form :is(input, textarea)")]
    .some((each) => each === document.activeElement || each.value !== each.defaultValue);
  const isBusy = () => document.hidden || document.querySelector("dialog[open]") || isFilledIn()
    || !(getSelection()?.isCollapsed ?? true);

  const refresh = () => {
    if (!isLive) { location.reload(); return; }
    htmx.ajax("GET", location.href, { target: "#live", select: "#live", swap: "outerHTML" })
      .catch(() => {});
  };

  if (isLive && toggle) {
    toggle.addEventListener("click", () => {
      paused = !paused;
      sessionStorage.setItem("signal-tasks-paused", paused ? "yes" : "no");
      show();
    });
    show();
    setInterval(() => { if (!paused && !isBusy()) refresh(); }, INTERVAL);
  }

  // What a person has opened, focused or scrolled stays so when the page refreshes.
  let kept = null;
  const path = (element) => element.id ? `#${CSS.escape(element.id)}`
    : element.hasAttribute("href") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : element.localName;
  const keep = () => {
    const focused = live().contains(document.activeElement) ? document.activeElement : null;
    const selector = focused && path(focused);
    kept = {
      details: new Map([...live().querySelectorAll("details[id]")].map((each) => [each.id, each.open])),
      scrolls: [...live().querySelectorAll(".scroll, pre")].map((each) => [each.scrollLeft, each.scrollTop]),
      selector,
      index: selector ? [...live().querySelectorAll(selector)].indexOf(focused) : -1,
    };
  };
  const restore = () => {
    for (const each of live().querySelectorAll("details[id]")) {
      if (kept.details.has(each.id)) each.open = kept.details.get(each.id);
    }
    live().querySelectorAll(".scroll, pre").forEach((each, index) => {
      [each.scrollLeft, each.scrollTop] = kept.scrolls[index] || [0, 0];
    });
    if (kept.selector) live().querySelectorAll(kept.selector)[kept.index]?.focus({ preventScroll: true });
  };

  // An answer without the live part, as that of a login page, does not empty the page.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const answer = event.detail.xhr;
    failed = answer.status !== 200 || !answer.responseText.includes('<div id="live">');
    event.detail.shouldSwap = !failed;
    if (!failed) keep();
    show();
  });
  document.addEventListener("htmx:sendError", () => { failed = true; show(); });
  document.addEventListener("htmx:afterSettle", () => {
    if (kept) restore();
    if (row >= 0) mark();
  });

  // The row that j and k have chosen stays chosen, too.
  let row = -1;
  const rows = () => [...document.querySelectorAll("[data-row]")];
  const mark = () => rows().forEach((each, index) => each.classList.toggle("chosen", index === row));
  const choose = (number) => {
    const all = rows();
    if (!all.length) return;
    row = Math.max(0, Math.min(number, all.length - 1));
    mark();
    all[row].scrollIntoView({ block: "nearest" });
  };

  const help = document.querySelector("[data-keys]");
  const showKeys = () => document.getElementById("keys").showModal();
  help.hidden = false;
  help.addEventListener("click", showKeys);

  const keys = {
    "/": () => document.querySelector("[data-search]")?.focus(),
    "j": () => choose(row + 1),
    "k": () => choose(row - 1),
    "Enter": () => rows()[row]?.querySelector("a")?.click(),
    "r": refresh,
    "?": showKeys,
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, dialog");
    const opening = event.key === "Enter" && event.target.closest("a, button, summary");
    if (typing || opening || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });
})();
