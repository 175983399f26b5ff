// Draws the figures of the report. Each article holds its rows once, as JSON by column; charts,
// tables and CSV files are made of them. Texts of results become text nodes, never HTML.
"use strict";
(() => {
  const settings = JSON.parse(document.getElementById("settings").textContent);
  const form = document.getElementById("choices");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const ROWS_SHOWN = 200;
  let isPrinting = false;

  class Figure {
    constructor(article) {
      this.article = article;
      const data = JSON.parse(article.querySelector("script.data").textContent);
      this.name = data.name;
      this.chart = data.chart;
      this.filters = data.filters;
      this.columns = data.columns;
      this.names = Object.keys(data.columns);
      this.place = article.querySelector(".chart");
      this.details = article.querySelector("details.table");
      this.view = null;
      this.isNear = false;
      article.querySelector("button.csv")?.addEventListener("click", () => this.saveCsv());
      this.details?.addEventListener("toggle", () => this.showTable(ROWS_SHOWN));
      if (this.details?.open) this.showTable(ROWS_SHOWN);
    }

    get numRows() {
      return this.names.length ? this.columns[this.names[0]].length : 0;
    }

    // The numbers of the rows that the reader's choices leave. Null belongs to every choice.
    chosen() {
      const wanted = this.filters.map((name) => [this.columns[name], choice(name)]);
      const numbers = [];
      for (let row = 0; row < this.numRows; row++) {
        const isIn = ([values, value]) =>
          value === "" || values[row] === null || String(values[row]) === value;
        if (wanted.every(isIn)) numbers.push(row);
      }
      return numbers;
    }

    rows() {
      return this.chosen().map((row) =>
        Object.fromEntries(this.names.map((name) => [name, this.columns[name][row]])),
      );
    }

    async draw() {
      if (!this.place) return;
      this.isNear = true;
      const rows = this.rows();
      this.article.querySelector(".empty").hidden = rows.length > 0;
      const spec = { ...this.chart, datasets: { rows } };
      const width = this.place.clientWidth;
      fit(spec, width);
      this.width = width;
      const scheme = dark.matches && !isPrinting ? "dark" : "light";
      const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true };
      this.view?.finalize();
      const made = await vegaEmbed(this.place, spec, {
        ...options,
        config: settings.config[scheme],
        defaultStyle: false,
        tooltip: { theme: scheme },
      });
      this.view = made.view;
      this.article.dataset.drawn = scheme;
    }

    // The reader chose something else.
    async update() {
      if (this.details?.open) this.showTable(ROWS_SHOWN);
      if (this.isNear) await this.draw();
    }

    showTable(limit) {
      if (!this.details.open) return;
      this.details.querySelectorAll("div, button").forEach((old) => old.remove());
      const numbers = this.chosen();
      const table = element("table");
      table.createTHead().insertRow().append(...this.names.map((name) => header(name)));
      const body = table.createTBody();
      for (const row of numbers.slice(0, limit)) {
        const line = body.insertRow();
        for (const name of this.names) {
          const value = this.columns[name][row];
          const cell = line.insertCell();
          cell.textContent = shown(value);
          if (typeof value === "number") cell.className = "number";
          else cell.dir = "auto";
        }
      }
      const around = element("div", "scrolled");
      around.tabIndex = 0;
      around.setAttribute("role", "region");
      around.setAttribute("aria-label", "Table");
      around.append(table);
      this.details.append(around);
      if (numbers.length > limit) {
        const more = element("button");
        more.type = "button";
        more.textContent = `Show all ${numbers.length.toLocaleString("en")} rows`;
        more.addEventListener("click", () => this.showTable(Infinity));
        this.details.append(more);
      }
    }

    saveCsv() {
      const lines = [this.names.map(quoted).join(",")];
      for (let row = 0; row < this.numRows; row++) {
        lines.push(this.names.map((name) => quoted(this.columns[name][row])).join(","));
      }
      const blob = new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" });
      const link = element("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${this.name}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    }
  }

  // As many panels beside one another as the page has room for.
  function fit(spec, width) {
    if (spec.facet && spec.columns) {
      const panel = (spec.spec.width ?? 200) + 50;
      spec.columns = Math.max(1, Math.floor((width - 40) / panel));
    }
  }

  function choice(name) {
    return form?.elements.namedItem(name)?.value ?? "";
  }

  function element(kind, className = "") {
    const made = document.createElement(kind);
    if (className) made.className = className;
    return made;
  }

  function header(name) {
    const cell = element("th");
    cell.scope = "col";
    cell.textContent = name;
    return cell;
  }

  function shown(value) {
    if (value === null) return "–";
    if (typeof value !== "number") return String(value);
    return Number.isInteger(value)
      ? value.toLocaleString("en")
      : value.toLocaleString("en", { maximumSignificantDigits: 4 });
  }

  // A field of CSV. A text that a spreadsheet would take for a formula stays a text.
  function quoted(value) {
    if (value === null) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  const figures = [...document.querySelectorAll("article.figure")].map((one) => new Figure(one));
  const byArticle = new Map(figures.map((figure) => [figure.article, figure]));
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const figure = byArticle.get(entry.target);
        if (entry.isIntersecting && !figure.isNear) figure.draw();
      }
    },
    { rootMargin: "600px" },
  );
  figures.forEach((figure) => near.observe(figure.article));

  form?.addEventListener("input", () => figures.forEach((figure) => figure.update()));
  form?.addEventListener("submit", (event) => event.preventDefault());
  const drawAgain = () => figures.filter((one) => one.isNear).forEach((one) => one.draw());
  dark.addEventListener("change", drawAgain);
  let resizing = 0;
  window.addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      figures.filter((one) => one.isNear && one.width !== one.place?.clientWidth)
        .forEach((one) => one.draw());
    }, 150);
  });
  window.addEventListener("beforeprint", () => {
    isPrinting = true;
    figures.forEach((figure) => figure.draw());
  });
  window.addEventListener("afterprint", () => {
    isPrinting = false;
    drawAgain();
  });
})();
