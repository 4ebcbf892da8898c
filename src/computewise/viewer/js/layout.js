// Where the nodes stand, from left to right, and the lines between them.

const COLUMN_GAP = 30;
const SIBLING_GAP = 7;
const COUSIN_GAP = 16;
const MARGIN = 6;

/** Places by id, lines, width and height of all in pixels; `sizes` are the nodes' own by id, `shown` gives children. */
function layOut(root, shown, sizes) {
  const tree = d3.hierarchy(root, shown);
  const size = (at) => sizes.get(at.data.id);
  const bottom = stack(tree, (at) => size(at).height);
  const widths = [];
  tree.each((at) => (widths[at.depth] = Math.max(widths[at.depth] ?? 0, size(at).width)));
  const lefts = [MARGIN];
  for (const width of widths) lefts.push(lefts.at(-1) + width + COLUMN_GAP);
  const places = new Map();
  tree.each((at) => {
    const left = lefts[at.depth];
    const width = widths[at.depth];
    places.set(at.data.id, { left, width, right: left + width, top: at.x - size(at).height / 2, middle: at.x });
  });
  const lines = tree.links().map(({ source, target }) => ({
    state: target.data.state,
    path: curve(places.get(source.data.id), places.get(target.data.id)),
  }));
  return { places, lines, width: lefts.at(-1) - COLUMN_GAP + MARGIN, height: bottom + MARGIN };
}

/**
 * Gives each node its middle from the top, `x`, and returns the bottom of all.
 *
 * A first child stands straight behind its parent, so what was chosen is one line across; d3.tree would put a parent in
 * the middle of its children, and a path of first children would climb like a staircase.
 */
function stack(tree, height) {
  const free = [];
  let bottom = 0;
  tree.eachBefore((at) => {
    const first = at.parent && at.parent.children[0] === at;
    at.x = first ? at.parent.x : lowest(at, free, height);
    for (const each of first ? [] : spine(at)) {
      free[each.depth] = { below: at.x + height(each) / 2, parent: each.parent };
      bottom = Math.max(bottom, free[each.depth].below);
    }
  });
  return bottom;
}

/** As high as the node and all straight behind it can stand. */
function lowest(at, free, height) {
  return Math.max(
    ...spine(at).map((each) => {
      const above = free[each.depth];
      const gap = !above ? MARGIN : above.parent === each.parent ? SIBLING_GAP : COUSIN_GAP;
      return (above?.below ?? 0) + gap + height(each) / 2;
    }),
  );
}

function spine(at) {
  return at.children ? [at, ...spine(at.children[0])] : [at];
}

function curve(from, to) {
  const half = (from.right + to.left) / 2;
  return `M${from.right},${from.middle}C${half},${from.middle} ${half},${to.middle} ${to.left},${to.middle}`;
}
