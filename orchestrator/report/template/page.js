// Draws the figures of the report. Each article holds its rows once, as JSON by column; charts,
// tables and CSV files are made of them. Texts of results become text nodes, never HTML.
(() => {
  const settings = JSON.parse(document.getElementById("page-settings").textContent);
  const form = document.getElementById("page-choices");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const ROWS_SHOWN = 200;
  const SHORT = 24; // letters of a cell that stay in one line
  const PAPER_WIDTH = "680px"; // of A4 and of letter, less their margins
  const EMBEDDED = {
    renderer: "svg",
    actions: false,
    defaultStyle: false,
    ast: true, // expressions are interpreted: the page's policy forbids to compile them
  };
  const GAPS = { panel: 30, axis: 50 }; // pixels between panels, and left of them
  let isPrinting = false;

  // Vega-Lite takes this, too, but warns of it where the height is that of the rows.
  const FIT = { type: "fit-x", contains: "padding" };

  // Where no row that is chosen has an interval its axis goes by the means, which is no fault. The
  // class of views is to be had of a view only.
  const quietView = vegaEmbed(element("div"), {}, { mode: "vega", ...EMBEDDED }).then(
    ({ view }) =>
      class extends view.constructor {
        constructor(...given) {
          super(...given);
          const log = this.logger();
          const warn = (...told) => /^Infinite extent/.test(told[0]) || log.warn(...told);
          this.logger({ ...log, warn });
        }
      },
  );

  class Figure {
    constructor(article) {
      this.article = article;
      const data = JSON.parse(article.querySelector("script.data").textContent);
      this.name = data.name;
      this.chart = data.chart;
      this.filters = data.filters;
      this.columns = decoded(data.columns);
      this.names = Object.keys(data.columns);
      this.meanings = data.meanings;
      this.place = article.querySelector(".chart");
      this.own = new OwnChoices(article.querySelector(".own"), data.choices, () => this.choose());
      this.shown = data.view && new VIEWS[data.view](article.querySelector(".view"));
      this.details = article.querySelector("details.table");
      this.view = null;
      this.isNear = false;
      this.isStale = true;
      this.drawing = Promise.resolve();
      article.querySelector("button.csv")?.addEventListener("click", () => this.saveCsv());
      this.details?.addEventListener("toggle", () => this.showTable(ROWS_SHOWN));
      if (this.details?.open) this.showTable(ROWS_SHOWN);
      this.showRows();
    }

    get numRows() {
      return this.names.length ? this.columns[this.names[0]].length : 0;
    }

    get isSeen() {
      const { top, bottom } = this.article.getBoundingClientRect();
      return bottom > 0 && top < window.innerHeight;
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
      return this.own.chosen(numbers, this.columns);
    }

    rows() {
      return this.chosen().map((row) =>
        Object.fromEntries(this.names.map((name) => [name, this.columns[name][row]])),
      );
    }

    // Draws the chart if it is wanted and what is there is of other choices, colours or width.
    // One drawing follows another, so that the last one stays.
    draw(isWanted = this.isNear) {
      if (this.place && isWanted && this.isStale) {
        this.isStale = false;
        this.drawing = this.drawing.then(() => this.embed());
      }
      return this.drawing;
    }

    async embed() {
      const rows = this.rows();
      const scheme = dark.matches && !isPrinting ? "dark" : "light";
      this.article.querySelector(".empty").hidden = rows.length > 0;
      this.place.hidden = rows.length === 0;
      if (rows.length === 0) {
        this.view?.finalize();
        this.view = null;
        this.place.replaceChildren();
        this.article.dataset.drawn = scheme;
        return;
      }
      this.place.style.width = isPrinting ? PAPER_WIDTH : "";
      this.width = this.place.clientWidth;
      const spec = this.fitted(rows);
      spec.params = this.chart.params?.map((one) =>
        one.bind && this.view ? { ...one, value: this.view.signal(one.name) } : one,
      );
      this.view?.finalize();
      const made = await vegaEmbed(this.place, spec, {
        mode: "vega-lite",
        ...EMBEDDED,
        config: settings.config[scheme],
        patch: (vega) => (isWide(this.chart) ? { ...vega, autosize: FIT } : vega),
        viewClass: await quietView,
        tooltip: { theme: scheme },
      });
      this.view = made.view;
      this.article.dataset.drawn = scheme;
    }

    // A chart of the width of the page, or of as many panels beside one another as it has room for.
    // Under the last line of panels Vega-Lite draws an axis a column, also where no panel is; then
    // each panel has its own.
    fitted(rows) {
      const spec = { ...this.chart, datasets: { rows } };
      if (isWide(spec)) {
        const layer = spec.layer?.map(({ width, ...one }) => one);
        return { ...spec, width: this.width, ...(layer && { layer }) };
      }
      const { columns, hasGap } = this.layout(rows);
      this.hasGap = hasGap;
      const axis = { ...spec.resolve?.axis, x: "independent" };
      return { ...spec, ...(columns && { columns }), ...(hasGap && { resolve: { ...spec.resolve, axis } }) };
    }

    // How many panels stand beside one another, in lines of about a length, and whether the last
    // line is shorter, as far as is known before the chart is drawn. A panel is a value of a column.
    layout(rows) {
      if (!this.chart.columns) return { columns: 0, hasGap: false };
      const panel = this.chart.spec.width ?? this.chart.spec.layer?.[0].width ?? 200;
      const most = Math.max(1, Math.floor((this.width - GAPS.axis) / (panel + GAPS.panel)));
      const { field } = this.chart.facet;
      if (!this.names.includes(field)) return { columns: most, hasGap: true };
      const number = new Set(rows.map((row) => row[field])).size;
      const columns = Math.max(1, Math.ceil(number / Math.ceil(number / most)));
      return { columns, hasGap: number % columns > 0 };
    }

    // Rows are shown that are no chart.
    showRows() {
      this.shown?.show(this.rows());
    }

    // What is drawn is no longer what is wanted.
    renew() {
      this.isStale = true;
      return this.draw();
    }

    // The reader chose other rows: the chart that is there takes them, which is quicker than a new
    // one.
    choose() {
      if (this.details?.open) this.showTable(ROWS_SHOWN);
      this.showRows();
      if (!this.isNear || this.isStale || !this.view) return this.renew();
      this.drawing = this.drawing.then(() => {
        const rows = this.rows();
        if (rows.length === 0 || this.layout(rows).hasGap > this.hasGap) return this.embed();
        return this.view.data("rows", rows).runAsync();
      });
      return this.drawing;
    }

    showTable(limit) {
      if (!this.details.open) return;
      this.details.querySelectorAll("div, dl, button").forEach((old) => old.remove());
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
          if (cell.textContent.length <= SHORT) cell.classList.add("short");
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
      this.details.append(this.explained());
    }

    // What the table's columns mean, as far as the analysis says it.
    explained() {
      const list = element("dl", "meanings");
      for (const [name, meaning] of Object.entries(this.meanings)) {
        list.append(element("dt"), element("dd"));
        list.children[list.children.length - 2].textContent = name;
        list.lastChild.textContent = meaning;
      }
      return list;
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

  function isWide(spec) {
    return (spec.width ?? spec.layer?.[0].width) === "container";
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
        figure.isNear = entry.isIntersecting;
        figure.draw();
      }
    },
    { rootMargin: "600px" },
  );
  figures.forEach((figure) => near.observe(figure.article));

  form?.addEventListener("input", (event) => {
    const changed = figures.filter((one) => one.filters.includes(event.target.name));
    const seen = changed.filter((one) => one.isSeen);
    seen.forEach((one) => one.choose());
    // What is not seen comes after that is shown.
    setTimeout(() => changed.filter((one) => !seen.includes(one)).forEach((one) => one.choose()));
  });
  form?.addEventListener("submit", (event) => event.preventDefault());
  dark.addEventListener("change", () => figures.forEach((one) => one.renew()));
  let resizing = 0;
  window.addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      figures.filter((one) => one.width !== one.place?.clientWidth).forEach((one) => one.renew());
    }, 150);
  });
  // Paper is light, and has all figures. What follows a promise here runs before the page is taken.
  window.addEventListener("beforeprint", () => {
    isPrinting = true;
    for (const figure of figures) {
      figure.isStale = true;
      figure.draw(true);
    }
  });
  window.addEventListener("afterprint", () => {
    isPrinting = false;
    figures.forEach((one) => one.renew());
  });
})();
