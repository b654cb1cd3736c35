// The beginning of the report: what was recorded, the verdict, the findings, and where each thread's time went.

function subject({ report }) {
  const { target, session } = report;
  const python = target.python ? `Python ${target.python}${target.free_threaded ? ", free-threaded" : ""}` : "";
  const how = `${session.mode} mode, ${duration(session.duration_s)}, ${plural(report.threads.length, "thread")}`;
  // The folders of the interpreter and of the script take much room.
  const short = target.command.map((word, index) => (index < 2 ? word.split("/").pop() || word : word)).join(" ");
  return el(
    "div",
    { class: "subject" },
    el("h1", { text: short || "no program", title: target.command.join(" ") }),
    el("p", { text: [python, how, target.pid ? `process ${target.pid}` : ""].filter(Boolean).join(" · ") }),
    session.filter && el("p", { class: "filter", text: `Only a part of it: ${session.filter}` }),
  );
}

function verdict({ verdicts, report }) {
  const nothing =
    report.threads.length === 0
      ? "Nothing was recorded: no thread was observed. The program may have ended too soon."
      : "No GIL and no lock was waited for.";
  const lines = verdicts.length > 0 ? verdicts : [nothing];
  const estimated = report.session.mode === "memory" && report.threads.length > 0;
  return el(
    "div",
    { class: "verdict" },
    lines.map((text) => el("p", { text })),
    estimated && el("p", { class: "note", text: "All times are estimated from samples." }),
  );
}

function findings({ report }) {
  if (report.threads.length === 0) return null;
  const one = (finding) => {
    const evidence = Object.entries(finding.evidence);
    const rows = () =>
      el(
        "dl",
        { class: "evidence" },
        evidence.map(([name, value]) => [
          el("dt", { text: name.replaceAll("_", " ") }),
          el("dd", { text: typeof value === "object" ? JSON.stringify(value) : String(value) }),
        ]),
      );
    return el(
      "li",
      { class: `finding ${finding.severity}` },
      el(
        "span",
        { class: "severity" },
        finding.severity,
        finding.cost_s > 0 && el("small", { text: duration(finding.cost_s) }),
      ),
      el("p", { text: finding.message }),
      evidence.length > 0 && fold("Evidence", rows),
    );
  };
  const none = el("p", {
    class: "note",
    text: "None: no thread was blocked for long enough to matter.",
  });
  return section(
    "findings",
    "Findings",
    "Findings",
    report.findings.length > 0 ? el("ol", { class: "findings" }, report.findings.map(one)) : none,
  );
}

const usedClasses = (threads) => CLASSES.filter(({ key }) => threads.some((thread) => thread.states[key] > 0));

const legend = (classes) =>
  el(
    "ul",
    { class: "legend", "aria-label": "States" },
    classes.map(({ css, letter, words }) =>
      el("li", {}, el("span", { class: `swatch ${css}`, text: letter, "aria-hidden": "true" }), words),
    ),
  );

/** `show` opens the flame graph of a thread. */
function ledger(page, show) {
  const { threads: all, processes } = page;
  const threads = all.filter((thread) => thread.ledger !== null);
  if (threads.length === 0) return null;
  const classes = usedClasses(threads.map((thread) => thread.ledger));
  const parts = (thread) => classes.map((one) => ({ ...one, value: thread.ledger.states[one.key] }));
  const busy = (thread) => thread.ledger.wall_s - thread.ledger.states.blocked_s;
  const name = (thread) =>
    button(thread.label, () => show(thread.index), {
      class: "link",
      title: `Flame graph of this thread${processes.length > 1 ? `, of ${thread.process}` : ""}`,
    });
  const column = columnsOf(page, "threads");
  const columns = [
    column("thread", (thread) => thread.label, { show: name }),
    column("wall", (thread) => thread.ledger.wall_s),
    column("CPU", (thread) => thread.ledger.cpu_s),
    {
      title: "",
      text: true,
      css: "wide",
      show: (thread) => stackedBar(parts(thread), thread.ledger.wall_s, thread.label),
    },
    ...classes.map(({ key, letter, words }) => ({
      title: letter,
      help: words,
      css: "share",
      of: (thread) => ratio(thread.ledger.states[key], thread.ledger.wall_s),
      show: (thread) => share(ratio(thread.ledger.states[key], thread.ledger.wall_s)),
    })),
  ];
  const sorted = [...threads].sort((a, b) => busy(b) - busy(a));
  return section(
    "threads",
    "Threads",
    "Threads",
    el("p", { class: "note", text: "What each did, in % of its time. Press a name for its flame graph." }),
    legend(classes),
    table("What each thread did", columns, sorted, { first: 20, css: "ledger" }),
  );
}

function howRecorded({ report, notes, generator }) {
  const { session } = report;
  const lines = [
    report.target.command.length > 0 && `The program: ${report.target.command.join(" ")}`,
    `${generator}, ${session.mode} mode: ${plural(session.samples, "sample")} at ${session.rate_hz} Hz in ${duration(session.duration_s)}, ${number(session.torn_samples)} without a stack; ${plural(session.lost_events, "record")} lost. gilscope used ${duration(session.profiler_cpu_s)} of CPU time.`,
    ...session.degraded,
    ...notes,
  ];
  return section(
    "recording",
    "How it was recorded",
    "Recording",
    el(
      "ul",
      {},
      lines.filter(Boolean).map((text) => el("li", { text })),
    ),
  );
}
