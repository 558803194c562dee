"use strict";
/** "Last night": what all engines did in 12 or 24 hours, on one time line. */
const nights = (() => {
  const { byId, make, setText, show } = drawing;
  const { shown, plural, moment } = words;
  const LANE = 22, AXIS = 20, LABEL = 130, MOST_LANES = 40, MOST_BANDS = 20, BAD = ["Failed", "Lost"];

  const svg = (tag, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  const hasFailed = ({ status }) => BAD.includes(status);
  const began = (run) => Date.parse(run.started) / 1000;
  const titleOf = (run) => shown(run.name || run.target || run.run_id);
  const sayRun = (run) => `${titleOf(run)} on ${shown(run.source, 60)}: ${run.status}, ${moment(began(run))}${run.error ? `, ${shown(run.error, 200)}` : ""}`;
  const sayBand = ({ kind, of, by, start, end }) => `${kind === "lost" ? `no link to ${shown(of, 60)}` : `pause of ${shown(of.replace(/^source:/, ""), 60)}${by ? ` by ${shown(by, 60)}` : ""}`}, ${end === null ? `since ${moment(start)}` : `${moment(start)} to ${moment(end)}`}`;

  class Night {
    /** `linkOf(run)` is the part of the address that opens a run. */
    constructor(source, linkOf) {
      Object.assign(this, { source, linkOf, found: null, back: 0, drawn: "" });
      byId("night-hours").onchange = () => this.ask();
      byId("night-earlier").onclick = () => { this.back += 1; this.ask(); };
      byId("night-later").onclick = () => { this.back -= 1; this.ask(); };
      new ResizeObserver(() => this.draw()).observe(byId("night"));
      this.ask();
    }

    ask() {
      const hours = Number(byId("night-hours").value);
      this.end = Date.now() / 1000 - this.back * hours * 3600;
      this.start = this.end - hours * 3600;
      byId("night-later").disabled = this.back === 0;
      this.asked = performance.now();
      this.source.ask("night", { start: this.start, end: this.end }, (answer) => { this.found = answer; this.drawn = ""; });
    }

    draw() {
      if (this.back === 0 && history_.isOld(this.asked, byId("night-section"))) this.ask();
      if (!this.found) return;
      const place = byId("night"), width = place.clientWidth, key = `${width} ${this.start}`;
      if (!width || this.drawn === key) return;
      this.drawn = key;
      const { runs: all = [], bands = [], more = 0, error = "", problem = "" } = this.found, failed = all.filter(hasFailed);
      setText(byId("night-note"), error ? "" : [plural(all.length + more, "run"), `${failed.length} failed`, ...(more ? [`${more} not drawn`] : [])].join(", "));
      setText(byId("night-problem"), shown(error || problem, 500));
      byId("night-failed").replaceChildren(...failed.slice(0, 10).map((run) => make("li", {}, this.link(run), `${run.error ? ` ${shown(run.error, 200)}` : ` ${run.status}`}`)));
      show(byId("night-failed"), failed.length > 0);
      place.replaceChildren(this.picture(all, bands, width));
      const said = [...bands].sort((one, other) => other.start - one.start).slice(0, MOST_BANDS).map((band) => make("li", {}, sayBand(band)));
      if (bands.length > MOST_BANDS) said.push(make("li", {}, `and ${bands.length - MOST_BANDS} earlier ones`));
      byId("night-bands").replaceChildren(...said);
      show(byId("night-bands"), said.length > 0);
    }

    link(run) { return make("a", { href: this.linkOf(run) }, `✕ ${titleOf(run)} on ${shown(run.source, 60)}, ${moment(began(run))}`); }

    picture(all, bands, width) {
      // engines with a failure first
      const bad = new Set(all.filter(hasFailed).map(({ source }) => source));
      const names = [...new Set([...all.map(({ source }) => source), ...bands.filter(({ kind }) => kind === "lost").map(({ of }) => of)])]
        .sort((one, other) => bad.has(other) - bad.has(one) || views.byText(one, other)).slice(0, MOST_LANES);
      const height = Math.max(1, names.length) * LANE, label = Math.min(LABEL, width / 3);
      const x = (seconds) => label + ((Math.min(Math.max(seconds, this.start), this.end) - this.start) / (this.end - this.start)) * (width - label - 4);
      const wide = (start, end, least) => Math.max(least, x(end) - x(start)).toFixed(1);
      const box = (start, end, row, name, text, inset = 1) => svg("rect", { x: x(start).toFixed(1), width: wide(start, end, 3), y: Math.max(0, row) * LANE + inset,
        height: (row < 0 ? height : LANE) - 2 * inset, class: name, rx: 2 }, this.title(text));
      const rowOf = ({ of }) => (names.includes(of.replace(/^source:/, "")) ? names.indexOf(of.replace(/^source:/, "")) : /^(global$|project:)/.test(of) ? -1 : null);
      const picture = svg("svg", { width, height: height + AXIS, role: "group", "aria-label": "Time line of all engines" },
        ...bands.filter((band) => rowOf(band) !== null).map((band) => svg("g", { "aria-hidden": "true" }, box(band.start, band.end ?? this.end, rowOf(band), `b-${band.kind}`, sayBand(band), 0))),
        ...names.map((name, row) => { const text = svg("text", { x: 0, y: row * LANE + 15, class: "n-count" }); text.textContent = shown(name, Math.floor(label / 8)); return text; }),
        ...[...all].sort((one, other) => hasFailed(one) - hasFailed(other)).filter(({ source }) => names.includes(source)).map((run) => {
          const end = run.ended ? Date.parse(run.ended) / 1000 : Date.parse(run.latest) / 1000, row = names.indexOf(run.source);
          const link = svg("a", { href: this.linkOf(run), "aria-label": sayRun(run) }, box(began(run), end, row, `b-run is-${run.status}`, sayRun(run), 3));
          if (hasFailed(run)) { const cross = svg("text", { x: x(began(run)).toFixed(1), y: row * LANE + 15, class: "b-cross" }); cross.textContent = "✕"; link.append(cross); }
          return link;
        }));
      // whole hours of this computer's time
      const hours = ((this.end - this.start) / 3600 / (width < 500 ? 4 : 12)) >= 2 ? (width < 500 ? 6 : 2) : width < 500 ? 3 : 1, first = new Date(this.start * 1000);
      first.setMinutes(60, 0, 0);
      for (; first.getTime() / 1000 < this.end; first.setHours(first.getHours() + 1)) {
        if (first.getHours() % hours) continue;
        const at = x(first.getTime() / 1000).toFixed(1), tick = svg("text", { x: at, y: height + 15, class: "n-count" });
        if (at < width - 34) tick.textContent = first.toTimeString().slice(0, 5);
        picture.append(svg("path", { d: `M${at} 0V${height + 4}`, class: "edge order" }), tick);
      }
      return picture;
    }

    title(text) { const node = svg("title"); node.textContent = text; return node; }
  }

  return { Night };
})();
