// Objects whose reference counts threads contend for (free-threaded builds): estimated from samples on the CPU.

/** Objects that cost a smaller fraction of the CPU time have no row. */
const MIN_CPU_FRACTION = 0.002;

function refcounts(page) {
  const { report } = page;
  const all = report.refcounts;
  if (!report.target.free_threaded || (all.samples === 0 && !all.unavailable)) return null;
  if (all.unavailable)
    return section(
      "refcounts",
      "Reference counts",
      "Reference counts",
      el("p", { class: "note", text: `Not measured: ${all.unavailable}` }),
    );
  const contended = all.objects.filter((object) => object.cpu_fraction >= MIN_CPU_FRACTION);
  const column = columnsOf(page, "refcounts");
  const bar = {
    title: "",
    text: true,
    css: "small",
    show: (one) => meter(ratio(one.cpu_fraction, all.cpu_fraction)),
  };
  const cost = [bar, column("of CPU", (one) => one.cpu_fraction), column("samples", (one) => one.samples)];
  const objects = [
    column("object", (one) => one.label),
    ...cost,
    column("threads", (one) => one.threads),
    column("atomic ops", (one) => ratio(one.atomic, one.samples)),
    column("counted", (one) => one.counting),
  ];
  const lines = [
    column("line", (one) => one.line),
    ...cost,
    column("objects", undefined, { text: true, show: (one) => one.objects.slice(0, 3).join(", ") }),
  ];
  const types = [column("type", (one) => one.type), ...cost, column("objects", (one) => one.objects)];
  const nothing = el("p", {
    class: "note",
    text: "No object's reference count costs a significant fraction of the CPU time.",
  });
  return section(
    "refcounts",
    "Reference counts",
    "Reference counts",
    facts(
      fact(percent(all.cpu_fraction), "of the CPU time held up"),
      fact(`± ${percent(all.margin)}`, "margin of error (95 % confidence)"),
      fact(number(all.samples), "samples examined"),
    ),
    el("p", {
      class: "note",
      text: "CPU time that threads lost to reference counts of objects that other threads use. Estimated from samples; not part of the waiting above.",
    }),
    contended.length === 0
      ? nothing
      : [
          tabs("By what", [
            [
              "By object",
              () => [
                table("Objects with contended reference counts", objects, contended),
                contended.slice(0, 20).map((object, index) => objectDetails(object, index < 1)),
              ],
            ],
            ["By line", () => [table("Lines", lines, all.lines)]],
            ["By type", () => [table("Types", types, all.types)]],
          ]),
        ],
    elsewhere(all.elsewhere),
  );
}

function objectDetails(object, open) {
  const owner = object.owner ? `owned by ${object.owner}` : "without an owner";
  const length = object.length === null ? "" : `${plural(object.length, "item")}, `;
  const operations = Object.entries(object.operations)
    .map(([name, samples]) => `${name} ${number(samples)}`)
    .join(", ");
  // Samples instead of seconds; the list only needs the proportions.
  const total = object.stacks.reduce((sum, one) => sum + one.samples, 0);
  const make = () =>
    [
      object.advice && el("p", {}, el("strong", { text: `${object.advice}.` })),
      el("p", {
        class: "note",
        text: `At 0x${object.address.toString(16)}, ${length}${owner}, counted: ${object.counting}. Samples by operation: ${operations}.`,
      }),
      blamedList(object.stacks, total, { of: (one) => one.samples, show: (value) => plural(value, "sample") }),
    ]
      .flat(Infinity)
      .filter(Boolean);
  return fold(
    el("span", {}, el("strong", { text: object.label }), ` · ${percent(object.cpu_fraction)} of the CPU time`),
    make,
    open,
    { class: "card" },
  );
}

/** Other atomic operations that cost CPU time in the same way. */
function elsewhere(parts) {
  const words = {
    object_mutex: "objects' own locks",
    header: "the rest of those objects' headers",
    interpreter: "the interpreter's own data",
    dict_keys: "keys of dicts",
    content: "objects behind their headers",
    memory: "other memory",
  };
  const significant = Object.entries(words).filter(([key]) => parts[key] >= MIN_CPU_FRACTION);
  if (significant.length === 0) return null;
  return el("p", {
    class: "note",
    text: `Other atomic operations, in % of the CPU time, whether shared or not: ${significant.map(([key, name]) => `${name} ${percent(parts[key])}`).join("; ")}.`,
  });
}
