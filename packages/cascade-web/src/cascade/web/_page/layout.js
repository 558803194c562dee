"use strict";
/**
 * Places the nodes of a graph in layers from left to right. No I/O.
 * Layers by the longest path, order by the mean of the neighbours, as Sugiyama, Tagawa and Toda (1981) describe it, with swaps in a
 * layer, as Gansner et al. (1993) do. `cs.visualize` orders the same graph in the same way.
 */
const layout = (() => {
  const SWEEPS = 8;

  /** `nodes`: how many; `edges`: `[[from, to], ...]`. Return `{at: [{x, y}], paths: [[{x, y}, ...]], width, height}`. */
  function place(nodes, edges, { width, height, gapX, gapY, margin }) {
    const ranks = rank(nodes, edges);
    const { layers: given, chains } = lay(nodes, edges, ranks);
    const near = neighbours(given, chains), layers = ordered(given, near);
    const heights = (id) => (id < nodes ? height : height / 3);
    const y = settle(layers, near, (above, below) => (heights(above) + heights(below)) / 2 + gapY);
    const top = Math.min(...y.map((each, id) => each - heights(id) / 2));
    const at = y.map((each, id) => ({ x: margin + width / 2 + ranks[id] * (width + gapX), y: each - top + margin }));
    return { at: at.slice(0, nodes), paths: chains.map((chain) => path(chain, at, width)),
      width: 2 * margin + width + Math.max(0, layers.length - 1) * (width + gapX),
      height: 2 * margin + Math.max(0, ...y.map((each, id) => each - top + heights(id) / 2)) };
  }

  /** Return the layer of each node: behind all that it needs. Edges of a cycle count as far as they lead on. */
  function rank(nodes, edges) {
    const ranks = new Array(nodes).fill(0), needs = new Array(nodes).fill(0), done = new Array(nodes).fill(false);
    const after = Array.from({ length: nodes }, () => []);
    for (const [from, to] of edges) {
      after[from].push(to);
      needs[to] += 1;
    }
    const ready = needs.flatMap((count, node) => (count ? [] : [node]));
    for (let next = 0; next < nodes; next++) {
      const node = ready[next] ?? done.indexOf(false);
      if (ready[next] === undefined) ready.push(node);
      done[node] = true;
      for (const to of after[node]) {
        if (done[to]) continue;
        ranks[to] = Math.max(ranks[to], ranks[node] + 1);
        needs[to] -= 1;
        if (!needs[to] && !ready.includes(to)) ready.push(to);
      }
    }
    return ranks;
  }

  /** Put the nodes into layers; an edge over several layers gets a place in each, so that it passes beside the nodes. */
  function lay(nodes, edges, ranks) {
    const layers = [];
    const put = (id) => { (layers[ranks[id]] ??= []).push(id); };
    for (let node = 0; node < nodes; node++) put(node);
    const chains = edges.map(([from, to]) => {
      const chain = [from];
      for (let between = ranks[from] + 1; between < ranks[to]; between++) {
        chain.push(ranks.push(between) - 1);
        put(chain.at(-1));
      }
      return [...chain, to];
    });
    for (let index = 0; index < layers.length; index++) layers[index] ??= [];
    return { layers, chains };
  }

  function neighbours(layers, chains) {
    const near = Array.from({ length: layers.flat().length }, () => ({ before: [], after: [] }));
    for (const chain of chains) {
      for (let index = 1; index < chain.length; index++) {
        near[chain[index - 1]].after.push(chain[index]);
        near[chain[index]].before.push(chain[index - 1]);
      }
    }
    return near;
  }

  const mean = (values) => values.reduce((total, each) => total + each, 0) / values.length;

  /** Return the layers in the order that had the fewest crossings of all sweeps. */
  function ordered(layers, near) {
    let best = layers.map((layer) => [...layer]), least = crossings(layers, near);
    for (let sweep = 0; sweep < SWEEPS && least; sweep++) {
      sort(layers, near, sweep % 2 === 0);
      swap(layers, near);
      const found = crossings(layers, near);
      if (found < least) [best, least] = [layers.map((layer) => [...layer]), found];
    }
    return best;
  }

  const places = (layers) => {
    const position = [];
    layers.forEach((layer) => layer.forEach((id, index) => { position[id] = index; }));
    return position;
  };

  function sort(layers, near, forward) {
    const position = places(layers);
    for (const layer of forward ? layers : [...layers].reverse()) {
      const wished = new Map(layer.map((id, index) => {
        const others = near[id][forward ? "before" : "after"];
        return [id, others.length ? mean(others.map((each) => position[each])) : index];
      }));
      layer.sort((one, other) => wished.get(one) - wished.get(other));
      layer.forEach((id, index) => { position[id] = index; });
    }
  }

  /** Swap nodes that are neighbours in their layer as long as fewer of their edges cross then. */
  function swap(layers, near) {
    const position = places(layers);
    const saved = (one, other) => ["before", "after"].reduce((total, side) => near[one][side].reduce((found, left) =>
      near[other][side].reduce((sum, right) => sum + Math.sign(position[left] - position[right]), found), total), 0);
    for (let pass = 0, swapped = true; pass < SWEEPS && swapped; pass++) {
      swapped = false;
      for (const layer of layers) {
        for (let at = 0; at + 1 < layer.length; at++) {
          const [one, other] = [layer[at], layer[at + 1]];
          if (saved(one, other) <= 0) continue;
          [layer[at], layer[at + 1], position[one], position[other]] = [other, one, at + 1, at];
          swapped = true;
        }
      }
    }
  }

  /** Count the pairs of edges that cross: inversions, in a binary indexed tree. */
  function crossings(layers, near) {
    const position = places(layers);
    let crossed = 0;
    layers.slice(0, -1).forEach((layer, index) => {
      const tree = new Array(layers[index + 1].length + 1).fill(0);
      let added = 0;
      for (const id of layer) {
        const ends = near[id].after.map((each) => position[each] + 1);
        for (const end of ends) {
          crossed += added;
          for (let at = end; at; at &= at - 1) crossed -= tree[at];
        }
        for (const end of ends) for (let at = end; at < tree.length; at += at & -at) tree[at] += 1;
        added += ends.length;
      }
    });
    return crossed;
  }

  /** Return the height of each node: near its neighbours, in the order of its layer, with the gap between. */
  function settle(layers, near, gap) {
    const y = [];
    for (const layer of layers) layer.forEach((id, index) => { y[id] = index ? y[layer[index - 1]] + gap(layer[index - 1], id) : 0; });
    for (let sweep = 0; sweep < SWEEPS; sweep++) {
      for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
        const side = sweep === SWEEPS - 1 ? ["before", "after"] : sweep % 2 ? ["after"] : ["before"];
        const wished = layer.map((id) => {
          const others = side.flatMap((each) => near[id][each]);
          return others.length ? mean(others.map((each) => y[each])) : y[id];
        });
        layer.forEach((id, index) => {
          y[id] = index ? Math.max(wished[index], y[layer[index - 1]] + gap(layer[index - 1], id)) : wished[0];
        });
        const shift = layer.length ? mean(layer.map((id, index) => wished[index] - y[id])) : 0;
        layer.forEach((id) => { y[id] += shift; });
      }
    }
    return y;
  }

  /** Return the points of an edge, from the right side of its first node to the left side of its last. */
  const path = (chain, at, width) => chain.flatMap((id, index) => [
    ...(index > 0 ? [{ x: at[id].x - width / 2, y: at[id].y }] : []),
    ...(index < chain.length - 1 ? [{ x: at[id].x + width / 2, y: at[id].y }] : [])]);

  return { place };
})();
