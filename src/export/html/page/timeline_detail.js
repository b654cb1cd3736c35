// What the timeline says of one stretch, in a tip and below. A stretch is `{ row, index }`.

/** What a stretch of a row shows: a state, or the thread that held something. */
const nameInRow = (page, row, what) => (row.kind === "thread" ? page.states[what].words : page.threads[what].label);

const stretchWords = (page, { row, index }) =>
  `${row.kind === "thread" ? "" : "held by "}${nameInRow(page, row, row.lane.what[index])}`;

/** In a few words. */
function stretchTip(page, stretch) {
  const { row, index } = stretch;
  const time = duration((row.lane.ends[index] - row.lane.starts[index]) / 1e6);
  const mix = row.lane.mixes.get(index);
  const many = mix ? `${plural(mix.count, "stretch", "stretches")}, mostly: ` : "";
  const labels = row.kind === "thread" ? stackLabels(page, row.lane.stacks[index]) : [];
  const top = labels.find((label) => !label.startsWith("["));
  return [
    el("strong", { text: row.name }),
    el("br"),
    `${many}${stretchWords(page, stretch)}, ${time}`,
    ...(top ? [el("br"), top] : []),
  ];
}

/** All of it: how long, who held what was waited for, the stack. `zoomTo` is called with the stretch. */
function describeStretch(page, contended, stretch, zoomTo) {
  const { row, index } = stretch;
  const [start, end] = [row.lane.starts[index], row.lane.ends[index]];
  const mix = row.lane.mixes.get(index);
  const parts = [
    el(
      "p",
      {},
      el("strong", { text: row.name }),
      `: ${stretchWords(page, stretch)} for `,
      el("strong", { text: duration((end - start) / 1e6) }),
      `, from ${(start / 1e6).toFixed(6)} s to ${(end / 1e6).toFixed(6)} s `,
      button("Zoom to it", () => zoomTo(stretch)),
    ),
  ];
  if (mix) {
    const list = [];
    for (let at = 0; at < mix.parts.length; at += 2)
      list.push(`${nameInRow(page, row, mix.parts[at])} ${duration(mix.parts[at + 1] / 1e6)}`);
    parts.push(
      el("p", {
        class: "note",
        text: `This is ${plural(mix.count, "stretch", "stretches")} merged: ${list.join(", ")}. The stack is that of the longest.`,
      }),
    );
  }
  if (row.kind === "thread") {
    const state = page.states[row.lane.what[index]];
    const pid = page.threads[row.thread].pid;
    const waited = contended.filter(
      (one) => one.pid === pid && (state.lock ? one.label === state.lock : one.label === null),
    );
    if ((state.class.key === "gil_wait_s" || state.lock) && waited.length === 1) {
      const held = timeWithin(waited[0].holds, start, end)
        .filter(([thread]) => thread !== row.thread)
        .slice(0, 3);
      if (held.length > 0)
        parts.push(
          el("p", {
            text: `Held meanwhile by ${held.map(([thread, time]) => `${page.threads[thread].label} ${duration(time / 1e6)}`).join(", ")}.`,
          }),
        );
    }
    parts.push(stackList(stackLabels(page, row.lane.stacks[index])));
  }
  return parts;
}
