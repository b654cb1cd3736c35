// The timeline: what each thread did when, and who held the GIL and the locks meanwhile. An overview of all of it, and
// below it the visible part; wheel, mouse, touch and keys move that.

const LANE = 20;
const OVERVIEW = 44;
/** Threads that have a row until the reader asks for more. */
const FIRST_LANES = 24;
/** GILs and locks that come before the threads; the others, which cost less, come after them. */
const FIRST_CONTENDED = 3;

function timeline(page) {
  const { length } = page.timeline;
  if (!(length > 0)) return null;
  const lanes = page.timeline.threads.map(unpackLane);
  const contended = page.timeline.contended
    .filter((one) => one.holds.what.length + one.waiters.length > 0)
    .map((one) => ({
      ...one,
      holds: unpackLane(one.holds),
      most: one.waiters.reduce((most, [, count]) => Math.max(most, count), 1),
    }));
  const inkOfState = (state) => page.states[state].class.index;
  const inkOfThread = (thread) => thread % 8;
  const threadName = (thread) => page.threads[thread].label;
  const contendedName = ({ label, interpreter, pid }) =>
    label ?? (page.report.gils.length > 1 ? `GIL of interpreter ${interpreter}, process ${pid}` : "GIL");

  // Threads that wait or run come before those that sleep all the time.
  const busy = ({ ledger }) => (ledger ? ledger.wall_s - ledger.states.blocked_s : 0);
  const order = page.threads
    .filter(({ index }) => lanes[index].starts.length > 0)
    .sort((a, b) => busy(b) - busy(a))
    .map(({ index }) => index);
  let shown = FIRST_LANES;
  let range = { from: 0, to: length };
  let selected = null; // { row, index }
  let rows = [];

  const overview = el("canvas", { class: "overview", role: "img", "aria-label": "Overview of the recording" });
  const canvas = el("canvas", {
    class: "lanes",
    tabindex: "0",
    role: "application",
    "aria-label":
      "Timeline. Arrow keys move and choose a row, plus and minus zoom, comma and full stop go from stretch to stretch, 0 shows all.",
    "aria-describedby": "timeline-help",
  });
  const names = el("div", { class: "lane-names", "aria-hidden": "true" });
  const tip = el("div", { class: "tip", hidden: true });
  const detail = el("div", { class: "detail", role: "status" });
  const where = el("span", { class: "where" });
  const more = button("", () => ((shown += 100), layOut()), { class: "more" });
  const frame = el("div", { class: "lane-frame" }, names, el("div", { class: "lane-box" }, canvas, tip));

  const fit = (target, height) => {
    const ratio = window.devicePixelRatio || 1;
    const width = target.clientWidth || 600;
    target.style.height = `${height}px`;
    target.width = Math.round(width * ratio);
    target.height = Math.round(height * ratio);
    const context = target.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    return [context, width];
  };

  function layOut() {
    let top = 22;
    rows = [];
    const add = (row) => {
      rows.push({ ...row, top });
      top += row.height + (row.kind === "holds" ? 6 : 4);
    };
    const holds = contended.map((one) => ({
      kind: "holds",
      one,
      lane: one.holds,
      height: LANE + 12,
      name: contendedName(one),
    }));
    holds.slice(0, FIRST_CONTENDED).forEach(add);
    for (const thread of order.slice(0, shown))
      add({ kind: "thread", thread, lane: lanes[thread], height: LANE, name: threadName(thread) });
    holds.slice(FIRST_CONTENDED).forEach(add);
    canvas.style.height = `${top}px`;
    names.style.height = `${top}px`;
    names.replaceChildren(...rows.map(laneName));
    more.hidden = shown >= order.length;
    more.textContent = `Show ${number(order.length - shown)} more threads`;
    draw();
  }

  /** A thread's colour in the rows that say who held something stands by its name. */
  function laneName({ name, top, height, kind, thread }) {
    const mark =
      kind === "thread" &&
      contended.length > 0 &&
      el("i", { style: { background: `var(--thread-${inkOfThread(thread)})` } });
    return el(
      "span",
      { class: kind, title: name, style: { top: `${top}px`, height: `${height}px`, "line-height": `${height}px` } },
      mark,
      kind === "holds" ? `${name}: held by` : name,
    );
  }

  let pending = false;
  const later = () => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => ((pending = false), draw()));
  };

  function draw() {
    // It is drawn when it has a place and a width.
    if (!canvas.isConnected) return;
    const height = rows.length > 0 ? rows.at(-1).top + rows.at(-1).height + 4 : 30;
    const [context, width] = fit(canvas, height);
    const all = inks(context);
    const ink = getComputedStyle(canvas).color;
    axis(context, width, height, ink);
    rows.forEach((row) => {
      if (row.kind === "thread") {
        paintLane(
          context,
          row.lane,
          { width, top: row.top, height: row.height },
          range,
          all.states,
          inkOfState,
          (state) => [page.states[state].words, page.states[state].class.letter],
        );
      } else {
        paintCounts(
          context,
          row.one.waiters,
          { width, top: row.top, height: 11 },
          range,
          row.one.most,
          all.states[3].color,
        );
        paintLane(
          context,
          row.lane,
          { width, top: row.top + 12, height: LANE },
          range,
          all.threads,
          inkOfThread,
          (thread) => [threadName(thread), page.threads[thread].name ?? ""],
        );
      }
    });
    if (selected) outline(context, width, ink);
    paintOverview(all, ink);
    const of = `${duration(range.from / 1e6)} to ${duration(range.to / 1e6)} (${duration((range.to - range.from) / 1e6)} of ${duration(length / 1e6)})`;
    where.textContent = of;
    whole.disabled = range.from === 0 && range.to === length;
  }

  function axis(context, width, height, ink) {
    const span = range.to - range.from;
    const rough = span / Math.max(2, width / 110);
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * unit).find((one) => one >= rough);
    context.fillStyle = ink;
    for (let at = Math.ceil(range.from / step) * step; at <= range.to; at += step) {
      const x = ((at - range.from) / span) * width;
      context.globalAlpha = 0.15;
      context.fillRect(x, 0, 1, height);
      context.globalAlpha = 1;
      const digits = Math.max(0, Math.ceil(-Math.log10(step / 1e6) - 0.001));
      context.fillText(`${(at / 1e6).toFixed(digits)} s`, x + 3, 9);
    }
  }

  function outline(context, width, ink) {
    const { row, index } = selected;
    const scale = width / (range.to - range.from);
    const from = (row.lane.starts[index] - range.from) * scale;
    const to = (row.lane.ends[index] - range.from) * scale;
    context.strokeStyle = ink;
    context.lineWidth = 2;
    context.strokeRect(from, row.top - 1, Math.max(3, to - from), row.height + 2);
  }

  /** All threads stacked: the fraction of them in each state. */
  function paintOverview(all, ink) {
    const [context, width] = fit(overview, OVERVIEW);
    if (paintOverview.width !== width) {
      paintOverview.width = width;
      paintOverview.bins = overviewBins(Math.ceil(width));
    }
    paintColumns(context, paintOverview.bins, Math.ceil(width), { top: 0, height: OVERVIEW }, all.states);
    const [from, to] = [(range.from / length) * width, (range.to / length) * width];
    context.fillStyle = getComputedStyle(overview).backgroundColor;
    context.globalAlpha = 0.65;
    context.fillRect(0, 0, from, OVERVIEW);
    context.fillRect(to, 0, width - to, OVERVIEW);
    context.globalAlpha = 1;
    context.strokeStyle = ink;
    context.lineWidth = 2;
    context.strokeRect(from + 1, 1, Math.max(2, to - from - 2), OVERVIEW - 2);
  }

  function overviewBins(columns) {
    const bins = new Float32Array(columns * CLASSES.length);
    const scale = columns / length;
    for (const lane of lanes) {
      for (let index = 0; index < lane.starts.length; index++) {
        const [from, to] = [lane.starts[index] * scale, lane.ends[index] * scale];
        const time = lane.ends[index] - lane.starts[index];
        const parts = lane.mixes.get(index)?.parts ?? [lane.what[index], time];
        for (let x = Math.floor(from); x < Math.min(columns, Math.ceil(to)); x++) {
          const covered = Math.min(to, x + 1) - Math.max(from, x);
          for (let at = 0; at < parts.length; at += 2)
            bins[x * CLASSES.length + inkOfState(parts[at])] +=
              (covered * parts[at + 1]) / time / Math.max(1, order.length);
        }
      }
    }
    return bins;
  }

  // Moving about

  function look(from, to) {
    const span = Math.max(2, Math.min(length, to - from));
    const start = Math.max(0, Math.min(length - span, from));
    range = { from: start, to: start + span };
    tip.hidden = true;
    later();
  }
  const zoomAt = (at, factor) => look(at - (at - range.from) * factor, at + (range.to - at) * factor);
  const middle = () =>
    selected
      ? Math.max(
          range.from,
          Math.min(range.to, (selected.row.lane.starts[selected.index] + selected.row.lane.ends[selected.index]) / 2),
        )
      : (range.from + range.to) / 2;
  const pan = (part) => look(range.from + (range.to - range.from) * part, range.to + (range.to - range.from) * part);
  const timeAt = (event, target = canvas) => {
    const { left, width } = target.getBoundingClientRect();
    const part = (event.clientX - left) / width;
    return target === overview ? part * length : range.from + part * (range.to - range.from);
  };

  /** To another row at the same time, or to the stretch before or after. */
  function go(down, along) {
    const at = rows.indexOf(selected?.row);
    const row = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + down))];
    if (!row || row.lane.starts.length === 0) return;
    const here = selected ? selected.index + along : firstAfter(row.lane.ends, middle());
    const index = selected && row !== selected.row ? firstAfter(row.lane.ends, middle()) : here;
    select({ row, index: Math.max(0, Math.min(row.lane.starts.length - 1, index)) });
    const [start, end] = [row.lane.starts[selected.index], row.lane.ends[selected.index]];
    const span = range.to - range.from;
    if (end < range.from || start > range.to) look((start + end - span) / 2, (start + end + span) / 2);
  }

  const zoomTo = ({ row, index }) => {
    const [start, end] = [row.lane.starts[index], row.lane.ends[index]];
    look(start - (end - start), end + (end - start));
  };

  // Looking closer

  function under(event) {
    const { top } = canvas.getBoundingClientRect();
    const y = event.clientY - top;
    const row = rows.find((one) => y >= one.top - 2 && y <= one.top + one.height + 2);
    if (!row) return null;
    // A finger is wider than a pixel: a stretch that begins nearby counts, too.
    const at = timeAt(event);
    let index = stretchAt(row.lane, at);
    if (index < 0) {
      const near = firstAfter(row.lane.ends, at);
      const pixel = (range.to - range.from) / canvas.clientWidth;
      index =
        [near, near - 1].find(
          (one) =>
            one >= 0 &&
            one < row.lane.starts.length &&
            Math.min(Math.abs(row.lane.starts[one] - at), Math.abs(row.lane.ends[one] - at)) < 4 * pixel,
        ) ?? -1;
    }
    return index < 0 ? null : { row, index };
  }

  function hover(event) {
    const hit = under(event);
    tip.hidden = !hit;
    if (!hit) return;
    tip.replaceChildren(...stretchTip(page, hit));
    const { left, top: above, width } = canvas.getBoundingClientRect();
    const x = event.clientX - left;
    tip.style.left = x > width / 2 ? "auto" : `${x + 14}px`;
    tip.style.right = x > width / 2 ? `${width - x + 14}px` : "auto";
    tip.style.top = `${event.clientY - above + 14}px`;
  }

  const pick = (event) => select(under(event));

  function select(what) {
    selected = what;
    detail.replaceChildren(
      ...(what
        ? describeStretch(page, contended, what, zoomTo)
        : [el("p", { class: "note", text: "Click a stretch for its stack." })]),
    );
    later();
  }

  const whole = button("Show all", () => look(0, length));
  const used = CLASSES.filter(({ index }) => page.states.some((state) => state.class.index === index));
  const element = section(
    "timeline",
    "Timeline",
    "Timeline",
    el(
      "div",
      { class: "controls" },
      button("Zoom in", () => zoomAt(middle(), 0.5)),
      button("Zoom out", () => zoomAt(middle(), 2)),
      button("◀", () => pan(-0.5), { "aria-label": "Earlier" }),
      button("▶", () => pan(0.5), { "aria-label": "Later" }),
      whole,
      where,
    ),
    overview,
    frame,
    more,
    legend(used),
    el(
      "p",
      { class: "note", id: "timeline-help" },
      "Drag to move; Ctrl and wheel, or two fingers, to zoom; double-click to zoom in; drag across the overview to pick a part. Keys, once it is clicked: ← → + - 0, ↑ ↓ for rows, comma and full stop for stretches.",
      contended.length > 0
        ? " Rows that say “held by” have one colour per thread; the steps above count those who wait."
        : "",
    ),
    detail,
  );
  steer(canvas, overview, {
    length,
    get range() {
      return range;
    },
    get selected() {
      return selected;
    },
    ...{ look, zoomAt, pan, middle, timeAt, go, zoomTo, select, hover, pick },
    leave: () => (tip.hidden = true),
  });
  select(null);
  new ResizeObserver(() => later()).observe(frame);
  layOut();
  return { element, redraw: draw };
}
