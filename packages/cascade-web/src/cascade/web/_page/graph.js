"use strict";
/** The graph of a run by name, with counts in its nodes, drawn as SVG. */
const graphs = (() => {
  const MAX_NAMES = 120, WIDTH = 178, HEIGHT = 58, NAME_CHARS = 22, LEAST_SCALE = 0.8;
  const { set, setText } = drawing;

  const svg = (tag, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  /** Return the graph with one node for each name: `{names, edges: [[from, to, isArgument]], more}`. */
  function byName(graph) {
    const nodes = new Map();
    for (const { name, kind, known } of graph.nodes) {
      const found = nodes.get(name) ?? { name, kind, known: 0 };
      nodes.set(name, { ...found, known: found.known + known });
    }
    const kept = new Map([...nodes].slice(0, MAX_NAMES));
    const edges = new Map();
    for (const { start, end, kind } of graph.edges) {
      const [from, to] = [graph.nodes[start].name, graph.nodes[end].name];
      if (from === to || !kept.has(from) || !kept.has(to)) continue;
      const key = JSON.stringify([from, to]);
      edges.set(key, [from, to, kind === "argument" || edges.get(key)?.[2] === true]);
    }
    return { nodes: [...kept.values()], edges: [...edges.values()], more: nodes.size - kept.size };
  }

  function layOut({ nodes, edges }) {
    const indices = new Map(nodes.map(({ name }, index) => [name, index]));
    const pairs = edges.map(([from, to]) => [indices.get(from), indices.get(to)]);
    return layout.place(nodes.length, pairs, { width: WIDTH, height: HEIGHT, gapX: 44, gapY: 14, margin: 8 });
  }

  /** The picture of one graph; it is laid out anew only when the graph has grown. */
  class Picture {
    constructor(place) {
      this.place = place;
      this.key = "";
      this.boxes = new Map();
    }

    /** `totals`: `TaskTotals` by name. Return how many names are not shown. */
    draw(graph, totals, key) {
      if (this.key !== key) {
        this.key = key;
        this.make(graph);
      }
      for (const [name, box] of this.boxes) fill(box, totals.get(name));
      return this.more;
    }

    make(graph) {
      const folded = byName(graph);
      this.more = folded.more;
      this.boxes.clear();
      const { at, paths, width, height } = layOut(folded);
      const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "list" }, arrow());
      picture.style.minWidth = `${Math.min(width, Math.max(320, width * LEAST_SCALE))}px`;
      paths.forEach((points, index) => picture.append(line(points, folded.edges[index][2])));
      folded.nodes.forEach((node, index) => {
        const box = makeBox(node, at[index]);
        this.boxes.set(node.name, box);
        picture.append(box.node);
      });
      this.place.replaceChildren(picture);
    }

    clear() {
      if (this.key) this.place.replaceChildren();
      this.key = "";
      this.boxes.clear();
    }
  }

  const arrow = () => svg("defs", {}, svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7,
    markerHeight: 7, orient: "auto" }, svg("path", { d: "M0 0 8 4 0 8z", class: "arrow" })));

  /** Curves between the layers, straight lines through them. An edge that carries no value is dashed. */
  function line(points, isArgument) {
    const to = (one, other, index) => {
      const middle = (one.x + other.x) / 2;
      return index % 2 ? `C${middle} ${one.y} ${middle} ${other.y} ${other.x} ${other.y}` : `L${other.x} ${other.y}`;
    };
    const path = points.slice(1).map((point, index) => to(points[index], point, index + 1)).join("");
    return svg("path", { d: `M${points[0].x} ${points[0].y}${path}`, class: isArgument ? "edge" : "edge order",
      "marker-end": "url(#arrow)", "aria-hidden": "true" });
  }

  function makeBox({ name, kind, known }, { x, y }) {
    const [left, top] = [x - WIDTH / 2, y - HEIGHT / 2];
    const rect = (more) => svg("rect", { x: left, y: top, width: WIDTH, height: HEIGHT, rx: 8, class: "n-box", ...more });
    const title = svg("title");
    const label = svg("text", { x: left + 10, y: top + 20, class: "n-name" });
    const count = svg("text", { x: left + 10, y: top + 37, class: "n-count" });
    const bar = svg("rect", { x: left + 10, y: top + HEIGHT - 13, width: WIDTH - 20, height: 5, rx: 2.5, class: "n-bar" });
    const part = (name) => svg("rect", { x: left + 10, y: top + HEIGHT - 13, width: 0, height: 5, rx: 2.5, class: name });
    const done = part("n-fill"), failed = part("n-bad");
    label.textContent = words.shown(name, NAME_CHARS);
    const behind = kind === "map" ? [rect({ x: left + 4, y: top - 4 })] : [];
    return { node: svg("g", { role: "listitem" }, title, ...behind, rect(), label, count, bar, done, failed), title, count, done, failed, name, kind, known };
  }

  /** Put the counts of a name into its box; without a report only the number of calls is known. */
  function fill(box, totals) {
    const counts = totals?.counts ?? {};
    const known = totals?.known ?? box.known;
    const { finished: ended, running, waiting } = progress.of(counts, { known });
    const parts = [totals ? `${words.count(ended)} / ${words.count(known)}` : words.plural(known, "call"),
      ...(running ? [`▶ ${words.count(running)}`] : []), ...(waiting ? [`‖ ${words.count(waiting)}`] : []),
      ...(counts.FAILED ? [`✕ ${words.count(counts.FAILED)}`] : [])];
    setText(box.count, parts.join("  "));
    const wide = (tasks) => (totals && known ? ((WIDTH - 20) * Math.min(1, tasks / known)).toFixed(1) : 0);
    set(box.done, "width", wide(ended));
    set(box.failed, "width", wide(counts.FAILED ?? 0));
    set(box.node, "class", counts.FAILED ? "n-fail" : running ? "n-run" : waiting ? "n-wait" : totals && known && ended >= known ? "n-done" : "");
    const spoken = [box.kind, totals ? `${words.count(ended)} of ${words.count(known)} ended` : words.plural(known, "call"),
      `${running} running`, `${waiting} waiting`, `${counts.FAILED ?? 0} failed`];
    set(box.node, "aria-label", `${words.shown(box.name)}: ${(totals ? spoken : spoken.slice(0, 2)).filter(Boolean).join(", ")}`);
    setText(box.title, box.node.getAttribute("aria-label"));
  }

  return { Picture, byName };
})();
