// Rows of the timeline: unpacking, looking up, painting. Knows nothing of the mouse.

/** A row in absolute times (microseconds). `what` is a state or a thread; `mixes` has what was merged. */
function unpackLane({ gaps, lengths, what, stacks, merged }) {
  const starts = new Float64Array(gaps.length);
  const ends = new Float64Array(gaps.length);
  let at = 0;
  for (let index = 0; index < gaps.length; index++) {
    starts[index] = at + gaps[index];
    at = ends[index] = starts[index] + lengths[index];
  }
  const mixes = new Map((merged ?? []).map(([index, count, ...parts]) => [index, { count, parts }]));
  return { starts, ends, what, stacks, mixes };
}

/** The first index whose end is after `at`. */
function firstAfter(ends, at) {
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The stretch at a moment, or -1. */
function stretchAt(lane, at) {
  const index = firstAfter(lane.ends, at);
  return index < lane.starts.length && lane.starts[index] <= at ? index : -1;
}

/** For how long each `what` is in the row between two moments, the longest first: `[what, time]`. */
function timeWithin(lane, from, to) {
  const sums = new Map();
  for (let index = firstAfter(lane.ends, from); index < lane.starts.length && lane.starts[index] < to; index++) {
    const time = Math.min(lane.ends[index], to) - Math.max(lane.starts[index], from);
    const scale = time / (lane.ends[index] - lane.starts[index]);
    const parts = lane.mixes.get(index)?.parts ?? [lane.what[index], lane.ends[index] - lane.starts[index]];
    for (let at = 0; at < parts.length; at += 2)
      sums.set(parts[at], (sums.get(parts[at]) ?? 0) + parts[at + 1] * scale);
  }
  return [...sums].sort((a, b) => b[1] - a[1]);
}

/** The inks of states and threads, from the style (`#rrggbb`). States have patterns, because colour is not enough. */
function inks(context) {
  const style = getComputedStyle(document.documentElement);
  const ink = (name) => {
    const color = style.getPropertyValue(name).trim();
    // As it is in memory: alpha, blue, green, red.
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    return { color, pixel: ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0 };
  };
  const states = CLASSES.map(({ css }) => ({ ...ink(`--${css}`), pattern: pattern(context, css) }));
  const threads = Array.from({ length: 8 }, (_, index) => ink(`--thread-${index}`));
  return { states, threads };
}

function pattern(context, css) {
  const lines = {
    "s-gil-wait": [[0, 6, 6, 0]],
    "s-lock-wait": [
      [0, 6, 6, 0],
      [0, 0, 6, 6],
    ],
    "s-gil-held-off-cpu": [[0, 3, 6, 3]],
    "s-gil-held-no-cpu": [
      [0, 3, 6, 3],
      [3, 0, 3, 6],
    ],
    "s-runnable": [[3, 0, 3, 6]],
  }[css];
  if (!lines) return null;
  const tile = el("canvas", { width: "6", height: "6" });
  const ink = tile.getContext("2d");
  ink.strokeStyle = "rgb(0 0 0 / 30%)";
  ink.beginPath();
  for (const [x0, y0, x1, y1] of lines) {
    ink.moveTo(x0, y0);
    ink.lineTo(x1, y1);
  }
  ink.stroke();
  return context.createPattern(tile, "repeat");
}

/**
 * Paints a row. `box` is `{ width, top, height }`, `range` is `{ from, to }`; `inkOf` gives the ink of a `what`, and
 * `nameOf` words for it, of which the first that fits is written. What is narrower than a pixel shares that pixel's column by its time,
 * so that a row shows the right proportions however far one is away from it.
 */
function paintLane(context, lane, box, range, all, inkOf, nameOf) {
  const scale = box.width / (range.to - range.from);
  const columns = Math.ceil(box.width);
  const bins = new Float32Array(columns * all.length);
  let narrow = false;
  const add = (from, to, ink, share) => {
    narrow = true;
    const last = Math.min(columns - 1, Math.floor(to));
    for (let x = Math.max(0, Math.floor(from)); x <= last; x++) {
      const covered = Math.min(to, x + 1) - Math.max(from, x);
      if (covered > 0) bins[x * all.length + ink] += covered * share;
    }
  };
  const wide = [];
  for (
    let index = firstAfter(lane.ends, range.from);
    index < lane.starts.length && lane.starts[index] < range.to;
    index++
  ) {
    const from = (lane.starts[index] - range.from) * scale;
    const to = (lane.ends[index] - range.from) * scale;
    const mix = lane.mixes.get(index);
    if (mix) {
      const time = lane.ends[index] - lane.starts[index];
      for (let at = 0; at < mix.parts.length; at += 2) add(from, to, inkOf(mix.parts[at]), mix.parts[at + 1] / time);
    } else if (to - from < 2) add(from, to, inkOf(lane.what[index]), 1);
    else {
      // Whole pixels are a box; what is left at its ends shares its column with what is beside it.
      const [first, last] = [Math.max(0, Math.ceil(from)), Math.min(box.width, Math.floor(to))];
      wide.push(index, first, last);
      if (first > from) add(from, first, inkOf(lane.what[index]), 1);
      if (last < to) add(last, to, inkOf(lane.what[index]), 1);
    }
  }
  for (let at = 0; at < wide.length; at += 3) {
    const ink = all[inkOf(lane.what[wide[at]])];
    const [from, to] = [wide[at + 1], wide[at + 2]];
    context.fillStyle = ink.color;
    context.fillRect(from, box.top, to - from, box.height);
    if (ink.pattern && to - from > 3) {
      context.fillStyle = ink.pattern;
      context.fillRect(from, box.top, to - from, box.height);
    }
    const word =
      to - from > 13 && nameOf(lane.what[wide[at]]).find((one) => context.measureText(one).width < to - from - 6);
    if (word) {
      context.fillStyle = "#111";
      context.fillText(word, from + 4, box.top + box.height / 2 + 1);
    }
  }
  if (narrow) paintColumns(context, bins, columns, box, all);
}

/** Columns of a pixel's width, with each ink as high as its share. Set pixel by pixel: there are too many to be drawn. */
function paintColumns(context, bins, columns, box, all) {
  const image = new ImageData(columns, box.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let x = 0; x < columns; x++) {
    let share = 0;
    let y = box.height;
    for (let ink = 0; ink < all.length; ink++) {
      share += bins[x * all.length + ink];
      const until = Math.max(0, box.height - Math.round(share * box.height));
      while (y > until) pixels[--y * columns + x] = all[ink].pixel;
    }
  }
  const scratch = (paintColumns.scratch ??= document.createElement("canvas"));
  [scratch.width, scratch.height] = [columns, box.height];
  scratch.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, 0, box.top);
}

/** Paints how many waited, as steps over a row of `box.height`; `most` is its top. */
function paintCounts(context, counts, box, range, most, color) {
  const scale = box.width / (range.to - range.from);
  context.fillStyle = color;
  let at = 0;
  let value = 0;
  const step = (until) => {
    const from = Math.max(at, range.from);
    const to = Math.min(until, range.to);
    if (value > 0 && to > from) {
      const height = (value / most) * box.height;
      context.fillRect(
        (from - range.from) * scale,
        box.top + box.height - height,
        Math.max(0.5, (to - from) * scale),
        height,
      );
    }
  };
  for (const [gap, count] of counts) {
    step(at + gap);
    at += gap;
    value = count;
    if (at > range.to) return;
  }
  step(range.to);
}
