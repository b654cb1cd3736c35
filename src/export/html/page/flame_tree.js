// The call tree of a view, from the rows of the profile. No drawing.

/**
 * Adds up the rows of `view`, of one thread (or of all: null). `byThread` and `byFunction`: threads as roots, and
 * functions instead of lines. Returns the root: `{ name, frame, total, own, children, parent, depth }`.
 */
function callTree(page, view, thread, byThread, byFunction) {
  const { stacks, threads, processes } = page;
  const { amounts, threads: whose, stacks: where } = page.views[view];
  const names = byFunction ? stacks.functions : stacks.lines;
  const root = treeNode(null, "all", -1);
  const roots = new Map();
  for (let row = 0; row < amounts.length; row++) {
    if (thread !== null && whose[row] !== thread) continue;
    const of = threads[whose[row]];
    const key = byThread ? of.index : processes.length > 1 ? of.process : "";
    let base = roots.get(key);
    if (!base) {
      base = { known: new Map(), node: root };
      if (processes.length > 1) base.node = child(base.node, of.process, -1);
      if (byThread) base.node = child(base.node, of.label, -1);
      base.known.set(0, base.node);
      roots.set(key, base);
    }
    at(base.known, where[row]).own += amounts[row];
  }
  function at(known, stack) {
    const above = [];
    while (!known.has(stack)) {
      above.push(stack);
      stack = stacks.callers[stack];
    }
    let node = known.get(stack);
    while (above.length > 0) {
      stack = above.pop();
      const frame = stacks.frames[stack];
      node = child(node, stacks.strings[names[frame]], frame);
      known.set(stack, node);
    }
    return node;
  }
  sumUp(root);
  return root;
}

const treeNode = (parent, name, frame) => ({
  parent,
  name,
  frame,
  own: 0,
  total: 0,
  depth: parent ? parent.depth + 1 : 0,
  below: new Map(),
  children: [],
  left: 0,
});

function child(node, name, frame) {
  let found = node.below.get(name);
  if (!found) {
    found = treeNode(node, name, frame);
    node.below.set(name, found);
  }
  return found;
}

/** Totals, and children with the greatest first. No recursion: stacks can be thousands of frames deep. */
function sumUp(root) {
  const all = [root];
  for (let index = 0; index < all.length; index++) for (const node of all[index].below.values()) all.push(node);
  for (let index = all.length - 1; index >= 0; index--) {
    const node = all[index];
    node.total += node.own;
    if (node.parent) node.parent.total += node.total;
    node.children = [...node.below.values()].sort((a, b) => b.total - a.total || (a.name < b.name ? -1 : 1));
  }
  for (const node of all) {
    let left = node.left;
    for (const one of node.children) {
      one.left = left;
      left += one.total;
    }
  }
}

/** All nodes below one, outermost first, without the subtrees whose root is not `wanted`. */
function* nodesBelow(root, wanted = () => true) {
  const left = [root];
  while (left.length > 0) {
    const node = left.pop();
    if (!wanted(node)) continue;
    yield node;
    for (let index = node.children.length - 1; index >= 0; index--) left.push(node.children[index]);
  }
}

/** Time by name: its own, and with what it called; a function that calls itself counts once. */
function byName(root) {
  const sums = new Map();
  for (const node of nodesBelow(root)) {
    if (node === root) continue;
    const sum = sums.get(node.name) ?? { name: node.name, frame: node.frame, own: 0, total: 0 };
    sum.own += node.own;
    let outer = node.parent;
    while (outer && outer.name !== node.name) outer = outer.parent;
    if (!outer) sum.total += node.total;
    sums.set(node.name, sum);
  }
  return [...sums.values()].sort((a, b) => b.own - a.own);
}

/** How much is in frames that match a search, and below them. */
function found(root, isHit) {
  let sum = 0;
  const left = [...root.children];
  while (left.length > 0) {
    const node = left.pop();
    if (isHit(node)) sum += node.total;
    else for (const one of node.children) left.push(one);
  }
  return sum;
}
