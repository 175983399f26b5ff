// Says when the results have changed since the page was made. The reader shows the new ones when
// it suits, and keeps the choices, the open tables and the place.
"use strict";
(() => {
  const LOOKS_EVERY_MS = 3000;
  const KEPT = "sparsweep-kept";
  const ours = document.body.dataset.state;
  const form = document.getElementById("page-choices");
  const articles = [...document.querySelectorAll("article.figure")];
  const status = document.createElement("p");
  const told = document.createElement("span");
  const button = document.createElement("button");
  status.id = "live";
  status.setAttribute("role", "status");
  button.type = "button";
  button.textContent = "Show them";
  button.hidden = true;
  status.append(told, button);
  document.body.append(status);

  // What a select or a slider of a chart is known by.
  const bound = (input) => `${input.closest("article").id} ${input.name}`;

  function keep() {
    const top = articles.find((one) => one.getBoundingClientRect().bottom > 100);
    const inputs = [...document.querySelectorAll(".vega-bindings [name]")];
    sessionStorage.setItem(KEPT, JSON.stringify({
      choices: [...(form?.elements ?? [])].map((one) => [one.name, one.value]),
      open: articles.filter((one) => one.querySelector("details.table")?.open).map((one) => one.id),
      bound: Object.fromEntries(inputs.map((one) => [bound(one), one.value])),
      place: top && window.scrollY > 0 ? [top.id, top.getBoundingClientRect().top] : null,
    }));
    location.reload();
  }

  function restore() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    sessionStorage.removeItem(KEPT);
    if (!kept) return;
    for (const [name, value] of kept.choices) {
      const select = form?.elements.namedItem(name);
      const isThere = [...(select?.options ?? [])].some((one) => one.value === value);
      if (isThere) select.value = value;
    }
    for (const id of kept.open) {
      const details = document.getElementById(id)?.querySelector("details.table");
      if (details) details.open = true;
    }
    new MutationObserver(() => {
      for (const input of document.querySelectorAll(".vega-bindings [name]")) {
        const value = kept.bound[bound(input)];
        delete kept.bound[bound(input)];
        if (value === undefined || input.value === value) continue;
        input.value = value;
        for (const kind of ["input", "change"]) {
          input.dispatchEvent(new Event(kind, { bubbles: true }));
        }
      }
    }).observe(document.getElementById("page-report"), { childList: true, subtree: true });
    const article = kept.place && document.getElementById(kept.place[0]);
    if (article) window.scrollBy(0, article.getBoundingClientRect().top - kept.place[1]);
  }

  async function look() {
    try {
      const answer = await fetch("state", { cache: "no-store" });
      const { state, problem } = await answer.json();
      button.hidden = state === ours;
      if (state !== ours) say("There are new results. ");
      else say(problem ? `The page could not be made again: ${problem}` : "");
    } catch {
      button.hidden = true;
      say("The report is no longer served; what it showed last stays here.");
    }
    setTimeout(look, LOOKS_EVERY_MS);
  }

  function say(text) {
    if (told.textContent !== text) told.textContent = text;
    status.hidden = text === "";
  }

  button.addEventListener("click", keep);
  status.hidden = true;
  history.scrollRestoration = "manual";
  restore();
  look();
})();
