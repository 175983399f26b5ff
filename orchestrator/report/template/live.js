// Says when the results have changed since the page was made. The reader shows the new ones when
// it suits, and keeps the choices, the open tables and the place.
"use strict";
(() => {
  const LOOKS_EVERY_MS = 3000;
  const KEPT = "sparsweep-kept";
  const ours = document.body.dataset.state;
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

  // Selects and sliders, of the page and of charts, by the figure that they are in and their name.
  const controls = () => [...document.querySelectorAll("label select, label input")];
  const keyOf = (control) => {
    const label = control.name || control.closest("label").firstChild.textContent.trim();
    return `${control.closest("article")?.id ?? ""} ${label}`;
  };

  function keep() {
    const top = articles.find((one) => one.getBoundingClientRect().bottom > 100);
    sessionStorage.setItem(KEPT, JSON.stringify({
      chosen: controls().map((one) => [keyOf(one), one.value]),
      open: articles.filter((one) => one.querySelector("details.table")?.open).map((one) => one.id),
      place: top && window.scrollY > 0 ? [top.id, top.getBoundingClientRect().top] : null,
    }));
    location.reload();
  }

  function restore() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    sessionStorage.removeItem(KEPT);
    if (!kept) return;
    const chosen = new Map(kept.chosen);
    const choose = () => {
      for (const control of controls()) {
        const value = chosen.get(keyOf(control));
        chosen.delete(keyOf(control));
        if (value === undefined || control.value === value) continue;
        const before = control.value;
        control.value = value;
        if (control.value !== value) control.value = before; // it is no more to be had
        for (const kind of ["input", "change"]) {
          control.dispatchEvent(new Event(kind, { bubbles: true }));
        }
      }
    };
    choose();
    const report = document.querySelector("main");
    new MutationObserver(choose).observe(report, { childList: true, subtree: true });
    for (const id of kept.open) {
      const details = document.getElementById(id)?.querySelector("details.table");
      if (details) details.open = true;
    }
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
