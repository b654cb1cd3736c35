// The data in the page: unpacks what src/export/html/data.rs has put there.

/** What threads do, in the order of the report's `States`: a letter and words, because colour is not enough. */
const CLASSES = [];

async function load() {
  const text = atob(document.getElementById("data").textContent.trim());
  const bytes = Uint8Array.from(text, (char) => char.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const page = await new Response(unpacked).json();
  page.threads = page.threads.map((thread, index) => ({
    ...thread,
    index,
    label: threadLabel(thread.name, thread.tid),
    process: page.processes[thread.process],
    ledger: null,
  }));
  // The report has all or some of them, in the same order. Several threads can have had the same tid, one after another.
  let next = 0;
  for (const ledger of page.report.threads) {
    const same = ({ pid, tid, index }) => index >= next && pid === ledger.pid && tid === ledger.tid;
    const thread = page.threads.find(same);
    if (!thread) continue;
    thread.ledger = ledger;
    next = thread.index + 1;
  }
  page.activities.forEach(({ key, letter, words }, index) =>
    CLASSES.push({ key, letter, words, index, css: `s-${key.slice(0, -2).replaceAll("_", "-")}` }),
  );
  for (const state of page.states) state.class = CLASSES.find(({ key }) => key === state.class);
  return page;
}

/** The frames of a stack of the tables, innermost first, as their labels. */
function stackLabels({ stacks }, stack) {
  const labels = [];
  for (; stack !== 0; stack = stacks.callers[stack]) labels.push(stacks.strings[stacks.lines[stacks.frames[stack]]]);
  return labels;
}
