// The GIL: who held it, who waited for it, and for whom.

function gilName(gils, gil) {
  const interpreter =
    gils.filter((other) => other.pid === gil.pid).length > 1 ? ` of interpreter ${gil.interpreter}` : "";
  return `GIL${interpreter}${gils.every((other) => other.pid === gil.pid) ? "" : ` of process ${gil.pid}`}`;
}

function gilSections(page) {
  const { gils, blame: chosen } = page.report;
  const used = gils.filter(
    (gil) => gil.wait.count > 0 || (gil.enabled && gils.length === 1) || gil.held.python_s + gil.held.native_s > 0,
  );
  return used.map((gil, index) => {
    const { held, wait } = gil;
    const total = held.python_s + held.native_s + held.off_cpu_s + held.runnable_s;
    const part = (key, words, value) => ({ ...CLASSES.find((one) => one.key === key), words, value });
    const parts = [
      part("gil_held_s", gil.estimated ? "held, running or ready" : "held, running Python", held.python_s),
      part("native_s", "held, in native code", held.native_s),
      part("gil_held_off_cpu_s", "held, but blocked in a system call", held.off_cpu_s),
      part("gil_held_no_cpu_s", "held, but without a CPU", held.runnable_s),
      { css: "s-blocked", letter: "", words: "free", value: Math.max(0, gil.observed_s - total) },
    ].filter(({ value }) => value > 0);
    const waiting = gil.threads.filter((thread) => thread.wait.count > 0 || thread.caused_s > 0);
    const heldBy = (row) => row.held.python_s + row.held.native_s + row.held.off_cpu_s + row.held.runnable_s;
    const column = columnsOf(page, "gil");
    const columns = [
      column("thread", ({ thread, tid }) => threadLabel(thread, tid)),
      ...waitColumns(column),
      column("held", heldBy),
      column("caused", (row) => row.caused_s),
    ];
    const found = page.whom.find((one) => one.pid === gil.pid && one.interpreter === gil.interpreter);
    const switched =
      gil.switched_on &&
      `Switched on ${duration(gil.switched_on.at_s)} after the start${gil.switched_on.module ? ` by ${gil.switched_on.module}` : ""}.`;
    return section(
      index === 0 ? "gil" : `gil-${index}`,
      gilName(gils, gil),
      gilName(gils, gil),
      switched && el("p", { text: switched }),
      facts(
        fact(percent(gil.held_fraction), "of the time held"),
        fact(percent(gil.contended_fraction), "of the time waited for"),
        fact(gil.mean_waiters.toFixed(gil.mean_waiters < 0.095 ? 2 : 1), "threads wait on average"),
        fact(duration(wait.total_s), `waited in ${plural(wait.count, "wait")}`),
        fact(duration(gil.switch_interval_s), "switch interval"),
        !gil.estimated &&
          fact(`${number(gil.forced_drops)} / ${number(gil.voluntary_drops)}`, "releases: forced / voluntary"),
      ),
      stackedBar(parts, gil.observed_s, "The GIL"),
      el(
        "ul",
        { class: "legend" },
        parts.map(({ css, letter, words, value }) =>
          el(
            "li",
            {},
            el("span", { class: `swatch ${css}`, text: letter, "aria-hidden": "true" }),
            `${words}: ${percent(ratio(value, gil.observed_s))}`,
          ),
        ),
      ),
      wait.count > 0 && [
        heading("Who waits"),
        table("Waits for the GIL by thread", columns, waiting, { sort: 2 }),
        matrix(page, found),
        heading("To whom waiting is attributed"),
        blame(gil, wait.total_s, chosen),
        gil.lengths?.length > 0 &&
          fold("Lengths of waits", () => histogram(gil.lengths, "Lengths of waits for the GIL")),
      ],
      gil.held_off_cpu.length > 0 &&
        fold(`Blocked with the GIL held: ${duration(held.off_cpu_s)}`, () =>
          blamedList(gil.held_off_cpu, held.off_cpu_s, SECONDS, (one) => `in ${one.syscall}`),
        ),
      wait.count > 0 && accounting(gil),
    );
  });
}
