// What the sections are made of: headings, tables, bars, stacks. Knows nothing of profiles.

/** How many rows, stacks and frames are shown until the reader asks for more. */
const FIRST_ROWS = 15;
const FIRST_STACKS = 4;
const FIRST_FRAMES = 3;

const sections = [];

/** A section with a place in the navigation, where it is called `short`. */
function section(id, title, short, ...children) {
  const heading = el("h2", { id: `${id}-title`, text: title });
  const made = el("section", { id, "aria-labelledby": `${id}-title` }, heading, ...children);
  sections.push({ id, short });
  return made;
}

const folded = [];

/** A part that a click unfolds, and that is built only then. Printing unfolds all. */
function fold(summary, make, open = false, attributes = {}) {
  const details = el("details", attributes, el("summary", {}, summary));
  let made = false;
  const build = () => {
    if (!made) details.append(...[make()].flat());
    made = true;
  };
  details.addEventListener("toggle", () => details.open && build());
  if (open) {
    build();
    details.open = true;
  }
  folded.push({ details, build });
  return details;
}

/** A fraction as a bar. */
function meter(fraction, css = "") {
  const width = `${Math.max(0, Math.min(1, fraction)) * 100}%`;
  return el("span", { class: `meter ${css}`, "aria-hidden": "true" }, el("span", { style: { width } }));
}

/** Parts that add up to a whole, as one bar. Each is `{ css, letter, words, value }`. */
function stackedBar(parts, whole, label) {
  const shown = parts.filter((part) => part.value > 0);
  const words = (part) => `${part.words}: ${percent(ratio(part.value, whole))}`;
  const bits = shown.map((part) =>
    el(
      "span",
      { class: part.css, title: words(part), style: { "flex-grow": String(ratio(part.value, whole)) } },
      ratio(part.value, whole) > 0.04 ? part.letter : "",
    ),
  );
  return el("div", { class: "bar", role: "img", "aria-label": `${label}: ${shown.map(words).join(", ")}` }, bits);
}

/**
 * A table that sorts by a column when its heading is pressed. Columns: `{ title, of, show, text }`: the value to sort
 * by, and what to show for it. Text columns are on the left.
 */
function table(label, columns, rows, { first = FIRST_ROWS, sort = -1, css = "" } = {}) {
  let shown = first;
  let by = sort;
  let down = true;
  const body = el("tbody");
  const more = button("", () => ((shown += 200), fill()), { class: "more" });
  const heads = columns.map((column, index) => {
    const press = () => ((down = by === index ? !down : !column.text), (by = index), fill());
    const head = el("th", { scope: "col", class: column.text ? "text" : null });
    head.append(column.of ? button(column.title, press, { title: column.help }) : column.title);
    return head;
  });
  function fill() {
    const sorted = [...rows];
    if (by >= 0) {
      const of = columns[by].of;
      const order = (a, b) => (typeof of(a) === "string" ? of(a).localeCompare(of(b)) : of(a) - of(b));
      sorted.sort((a, b) => (down ? order(b, a) : order(a, b)));
    }
    heads.forEach((head, index) =>
      head.setAttribute("aria-sort", index !== by ? "none" : down ? "descending" : "ascending"),
    );
    const cells = (row) =>
      columns.map((column, index) => {
        const tag = index === 0 ? "th" : "td";
        const scope = index === 0 ? "row" : null;
        return el(
          tag,
          {
            scope,
            class: [column.text ? "text" : "", column.css ?? ""].join(" ").trim() || null,
            "data-label": column.title,
          },
          column.show(row),
        );
      });
    body.replaceChildren(...sorted.slice(0, shown).map((row) => el("tr", {}, cells(row))));
    more.textContent = `Show ${number(Math.max(0, rows.length - shown))} more`;
    more.hidden = rows.length <= shown;
  }
  fill();
  const whole = el("table", { class: css || null, "aria-label": label }, el("thead", {}, el("tr", {}, heads)), body);
  return el("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, whole, more);
}

/** A stack, innermost frame first; a click unfolds the rest. */
function stackList(frames) {
  if (frames.length === 0) return el("p", { class: "stack none", text: "(no Python frame)" });
  const list = (part, start) =>
    el(
      "ol",
      { class: "stack", start },
      part.map((frame) => el("li", { text: frame })),
    );
  const rest = frames.slice(FIRST_FRAMES);
  const more =
    rest.length > 0 &&
    fold(`${plural(rest.length, "more frame")}`, () => list(rest, FIRST_FRAMES + 1), false, { class: "frames" });
  return el("div", {}, list(frames.slice(0, FIRST_FRAMES), 1), more);
}

const SECONDS = { of: (one) => one.seconds, show: duration };

/**
 * Amounts by thread and stack; `prefix` gives a word that stands before the stack. Threads that do the same are one
 * entry: those of a pool are like each other.
 */
function blamedList(all, whole, { of, show } = SECONDS, prefix = () => null) {
  const places = new Map();
  for (const blamed of all) {
    const key = [...blamed.stack, prefix(blamed) ?? ""].join("\n");
    const place = places.get(key) ?? { amount: 0, by: [] };
    place.amount += of(blamed);
    place.by.push(blamed);
    places.set(key, place);
  }
  const sorted = [...places.values()].sort((a, b) => b.amount - a.amount);
  const who = ({ by }) =>
    threadLabel(by[0].thread, by[0].tid) + (by.length > 1 ? ` and ${plural(by.length - 1, "other thread")}` : "");
  const entry = (place) =>
    el(
      "li",
      {},
      el(
        "div",
        { class: "blame" },
        el("strong", { text: show(place.amount) }),
        el("span", { class: "part", text: percent(ratio(place.amount, whole)) }),
        meter(ratio(place.amount, whole)),
        el("span", { class: "who", text: who(place) }),
      ),
      prefix(place.by[0]) && el("p", { class: "note", text: prefix(place.by[0]) }),
      stackList(place.by[0].stack),
    );
  const list = el("ol", { class: "blamed" }, sorted.slice(0, FIRST_STACKS).map(entry));
  const rest = sorted.slice(FIRST_STACKS);
  if (rest.length === 0) return list;
  const left = rest.reduce((sum, place) => sum + place.amount, 0);
  return [
    list,
    fold(`${plural(rest.length, "more stack")}, ${show(left)} in all`, () =>
      el("ol", { class: "blamed" }, rest.slice(0, 100).map(entry)),
    ),
  ];
}

/** One of several panels, selected by a button; each is `[name, make]`. */
function tabs(label, choices, chosen = 0) {
  const panel = el("div", { class: "panel" });
  const show = (index) => {
    buttons.forEach((one, at) => one.setAttribute("aria-pressed", String(at === index)));
    panel.replaceChildren(...[choices[index][1]()].flat(Infinity));
  };
  const buttons = choices.map(([name], index) => button(name, () => show(index)));
  show(chosen);
  return el("div", {}, el("div", { class: "choice", role: "group", "aria-label": label }, buttons), panel);
}

const fact = (value, words) =>
  el("div", { class: "fact" }, el("strong", { text: value }), el("span", { text: words }));
const facts = (...all) => el("div", { class: "facts" }, all.filter(Boolean));
const heading = (text) => el("h3", { text });
