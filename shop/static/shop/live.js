// Keeps the order page current until all that follows from the order has ended.
const panel = document.querySelector("[data-live]");
const ended = () => panel.querySelector("[data-ended]") !== null;
let shown = "";
let wait = 500;

async function refresh() {
  const answer = await fetch(panel.dataset.live).catch(() => null);
  const html = answer?.ok ? await answer.text().catch(() => shown) : shown;
  if (html !== shown) panel.innerHTML = shown = html;
  wait = Math.min(wait * 1.1, 10000);
  if (!ended()) setTimeout(refresh, wait);
}

if (!ended()) setTimeout(refresh, wait);
