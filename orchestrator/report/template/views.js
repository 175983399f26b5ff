// What figures other than charts are made of: choices of one figure, prose, and sentences with tags.
"use strict";

// Columns as lists; those with repeated values come as the values and the place of each row's.
function decoded(columns) {
  const full = (column) =>
    Array.isArray(column) ? column : column.places.map((place) => column.values[place]);
  return Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, full(column)]));
}

function made(kind, text = "", className = "") {
  const element = document.createElement(kind);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

// The choices of one figure. Each offers the values that the choices before it leave; what was
// chosen stays as long as it is offered.
class OwnChoices {
  constructor(place, choices, changed) {
    this.choices = choices.map((choice) => ({ ...choice, select: made("select") }));
    for (const { label, select } of this.choices) {
      const around = made("label", `${label} `);
      around.append(select);
      place.append(around);
      select.addEventListener("input", changed);
    }
  }

  chosen(rows, columns) {
    for (const { column, select, has_all } of this.choices) {
      const parts = (row) =>
        columns[column][row] === null ? null : String(columns[column][row]).split(", ");
      const offered = [...new Set(rows.flatMap((row) => parts(row) ?? []))].sort((one, other) =>
        one.localeCompare(other, "en", { numeric: true }),
      );
      const values = has_all ? ["", ...offered] : offered;
      const value = values.includes(select.value) ? select.value : values[0];
      select.parentElement.hidden = offered.length < 2;
      select.replaceChildren(...values.map((one) => new Option(one || "all", one)));
      select.value = value ?? "";
      if (value) rows = rows.filter((row) => parts(row)?.includes(value) ?? true);
    }
    return rows;
  }
}

// The column `sentence`, in parts by the column `about`.
class Prose {
  constructor(place) {
    this.place = place;
  }

  show(rows) {
    this.place.replaceChildren();
    let about = null;
    let list = null;
    for (const row of rows) {
      if (row.about !== about) {
        about = row.about;
        list = made("ul");
        this.place.append(made("h4", about), list);
      }
      list.append(made("li", row.sentence));
    }
  }
}

// Sentences, some at a time, with their true tags and those of a dense and of a sparse trial.
class TaggedSentences {
  constructor(place) {
    this.list = made("ol");
    this.told = made("span");
    this.back = made("button", "Previous");
    this.on = made("button", "Next");
    this.back.type = this.on.type = "button";
    this.back.addEventListener("click", () => this.turn(-1));
    this.on.addEventListener("click", () => this.turn(1));
    const bar = made("p", "", "turn");
    bar.append(this.back, this.told, this.on);
    place.append(bar, this.list);
  }

  show(rows) {
    this.rows = rows;
    this.first = 0;
    this.turn(0);
  }

  turn(pages) {
    const many = 10;
    const total = this.rows.length;
    this.first += pages * many;
    const end = Math.min(this.first + many, total);
    this.told.textContent = total
      ? `${(this.first + 1).toLocaleString("en")} to ${end.toLocaleString("en")} of ` +
        total.toLocaleString("en")
      : "No sentence of this choice changes, among those that were looked at.";
    this.back.disabled = this.first === 0;
    this.on.disabled = end >= total;
    this.list.replaceChildren(...this.rows.slice(this.first, end).map((row) => this.card(row)));
  }

  card(row) {
    const card = made("li", "", "sentence");
    const where = `${row.language_name}, sparsity ${row.target_sparsity}, seed ${row.seed}`;
    card.append(made("p", `${where}: ${row.kinds}`, "about"));
    const words = row.words.split(" ");
    const gold = entities(row.gold.split(" "));
    const isTrue = new Set(gold.map((one) => one.key));
    for (const side of ["gold", "dense", "sparse"]) {
      const found = side === "gold" ? gold : entities(row[side].split(" "));
      const line = made("p", "", "line");
      line.append(made("span", side, "side"), tagged(words, found, isTrue, row.language));
      card.append(line);
    }
    return card;
  }
}

// Entities by the lenient rule: one begins at B-, and at an I- that continues nothing.
function entities(tags) {
  const found = [];
  tags.forEach((tag, place) => {
    if (tag === "O") return;
    const type = tag.slice(2);
    const last = found.at(-1);
    if (tag[0] === "I" && last && last.end === place && last.type === type) last.end++;
    else found.push({ start: place, end: place + 1, type, label: tag[0] === "I" ? tag : type });
  });
  found.forEach((one) => (one.key = `${one.start} ${one.end} ${one.label}`));
  return found;
}

function tagged(words, found, isTrue, language) {
  const text = made("span", "", "text");
  text.dir = "auto";
  text.lang = language;
  let place = 0;
  const plain = (end) => {
    if (end > place) text.append(`${words.slice(place, end).join(" ")} `);
  };
  for (const one of found) {
    plain(one.start);
    const mark = made("mark", `${words.slice(one.start, one.end).join(" ")}\u00a0`, one.type);
    mark.dir = "auto"; // whole, and with its label, in text of another direction
    const label = made("bdi", one.label);
    label.lang = "en";
    if (!isTrue.has(one.key)) {
      mark.classList.add("wrong");
      mark.title = "not so in gold";
      label.append(made("span", " (wrong)", "hidden"));
    }
    mark.append(label);
    text.append(mark, " ");
    place = one.end;
  }
  plain(words.length);
  return text;
}

const VIEWS = { prose: Prose, tagged: TaggedSentences };
