"use strict";
/** The section of workflows, and the dialog that asks for the values of one and starts it. */
const workflows = (() => {
  const { byId, make, setText, set, show, Rows } = drawing;
  const { shown } = words;
  const SHOWN_ENGINES = 5;

  function row(page) {
    const name = make("span", { class: "name" }), doc = make("div", { class: "meta" }), engines = make("div"), problem = make("div", { class: "error" });
    const button = make("button", { type: "button" }, "Start…");
    let offer;
    button.onclick = () => page.actions.start(offer.name);
    const node = make("div", { class: "row constraint", role: "row" },
      make("div", { role: "cell" }, make("div", { class: "line" }, name), doc, engines, problem), make("div", { class: "acts", role: "cell" }, button));
    return { node, update(found) {
      offer = found;
      const title = shown(offer.name), topics = offer.engines.filter(({ why }) => !why).map(({ engine }) => starting.requestTopic(engine.source, offer.name));
      setText(name, title);
      setText(doc, shown(offer.engines[0].row.doc, 300));
      show(doc, doc.textContent !== "");
      lines(engines, [...offer.engines.slice(0, SHOWN_ENGINES).map((each) => notes(page, each)),
        ...(offer.engines.length > SHOWN_ENGINES ? [`${words.count(offer.engines.length - SHOWN_ENGINES)} more engines offer it`] : [])]);
      setText(problem, hindrance(page, offer, topics));
      show(problem, problem.textContent !== "");
      button.disabled = !topics.length || topics.every((topic) => page.actions.isOff(topic));
      const topic = topics[0] ?? starting.requestTopic(offer.engines[0].engine.source, offer.name);
      set(button, "aria-label", `Start ${title}`);
      set(button, "data-writes", topic);
      set(button, "title", `writes ${topic}`);
      set(node, "aria-label", [title, ...[...engines.children].map((each) => each.textContent), problem.textContent].filter(Boolean).join(", "));
    } };
  }

  /** Show texts below one another. */
  function lines(place, texts) {
    while (place.children.length > texts.length) place.lastChild.remove();
    while (place.children.length < texts.length) place.append(make("div", { class: "meta" }));
    texts.forEach((text, at) => setText(place.children[at], text));
  }

  /** Return who holds a lease, as far as an engine knows. */
  function leaseText(page, engine, { name, holder, since }) {
    const from = fields.seconds({ since }, "since");
    if (!holder) return `lease ${shown(name, 60)}, held by no machine`;
    return `lease ${shown(name, 60)}, held by ${shown(holder, 60)}${from ? ` since ${words.moment(from)}` : ""}`;
  }

  function notes(page, { engine, row: { last, schedule, lease }, why }) {
    // the clock of an engine that is gone starts nothing, and another one may hold its lease
    const live = engine.isLive(page.now), next = live && schedule && fields.seconds(schedule, "next"), skipped = schedule?.skipped;
    return [why ? `${shown(engine.source, 60)} ${why}` : shown(engine.source, 60),
      ...(last ? [`last run ${shown(last.status, 20)}${last.ended === null ? "" : ` ${page.ago(engine, last.ended)}`}`] : []),
      ...(next ? [`next ${words.moment(next)}`] : []),
      ...(schedule ? [`${shown(schedule.text)}${schedule.tz ? ` (${shown(schedule.tz, 40)})` : ""}`] : []),
      ...(live && lease ? [leaseText(page, engine, lease)] : []),
      ...(skipped ? [`not started at ${words.moment(fields.seconds(skipped, "at") ?? NaN) || shown(skipped.at, 40)}: ${shown(skipped.reason)}`] : []),
      ...(schedule?.problem ? [shown(schedule.problem)] : [])].join(" · ");
  }

  /** Return why nothing can be started, beside a link that is lost, which the page says everywhere. */
  function hindrance(page, { engines }, topics) {
    if (!topics.length) return `Cannot be started: ${engines.slice(0, 3).map(({ engine, why }) => `${shown(engine.source, 40)} ${why}`).join(", ")}.`;
    return topics.every((topic) => page.actions.isRefused(topic)) ? `Cannot be started: this user lacks the rights to (${shown(topics[0], 200)}).` : "";
  }

  /** The section: hidden while no engine offers anything. */
  class Panel {
    constructor(page) {
      this.page = page;
      this.rows = new Rows(byId("workflows"), { row: () => row(page), empty: () => "", label: byId("workflows-title").textContent });
    }

    draw() {
      const { view, now } = this.page, offers = starting.offers(view, now);
      const more = [...view.engines.values()].reduce((total, engine) => total + (engine.workflows?.more ?? 0), 0);
      show(byId("workflows-section"), offers.length > 0);
      this.rows.draw(offers, ({ name }) => name);
      setText(byId("workflows-note"), this.page.asOf([words.count(offers.length), ...(more ? [`${words.count(more)} more are not reported`] : [])].join(", ")));
    }
  }

  /** One field: its label, its input, what it takes and what is wrong with what was entered. */
  class Field {
    constructor(found, at) {
      this.found = found;
      const id = `start-field-${at}`, about = { id, "aria-describedby": `${id}-hint ${id}-problem` };
      this.input = this.make(about);
      this.problem = make("p", { class: "problem", id: `${id}-problem` });
      if (found.required && found.kind !== "switch") set(this.input, "aria-required", "true");
      const parts = [make("label", { for: id }, found.name ? shown(found.name) : "Further values"), this.input, make("p", { class: "hint", id: `${id}-hint` }, found.hint), this.problem];
      this.node = found.name ? make("div", { class: `field ${found.kind}` }, ...parts)
        : make("details", {}, make("summary", {}, "Further values"), make("div", { class: "field" }, ...parts));
      this.entered = forms.initialOf(found);
    }

    make(about) {
      const { kind, choices, required, hasDefault, nullable } = this.found;
      if (kind === "switch") return make("input", { ...about, type: "checkbox", role: "switch" });
      if (kind === "json") return make("textarea", { ...about, rows: 2, spellcheck: "false" });
      if (kind !== "choice") {
        const mode = this.found.options.some(({ type }) => type === "string") ? {} : { inputmode: this.found.options.some(({ type }) => type === "number") ? "decimal" : "text" };
        return make("input", { ...about, ...mode, type: kind, autocomplete: "off", spellcheck: "false", autocapitalize: "off", ...(["time", "datetime-local"].includes(kind) ? { step: 1 } : {}) });
      }
      const names = choices.map((each) => (typeof each === "boolean" ? (each ? "yes" : "no") : shown(typeof each === "string" ? each : JSON.stringify(each))));
      const none = nullable ? "none" : required ? "choose…" : "the engine's default";
      return make("select", about, ...(nullable || !hasDefault ? [make("option", { value: "" }, none)] : []), ...names.map((each, index) => make("option", { value: index }, each)));
    }

    get entered() { return this.found.kind === "switch" ? this.input.checked : this.input.validity.badInput ? null : this.input.value; }
    set entered(value) {
      if (this.found.kind === "switch") this.input.checked = value === true;
      else this.input.value = typeof value === "string" ? value : "";
    }

    tell(problem) {
      if (problem && this.node.tagName === "DETAILS") this.node.open = true;
      setText(this.problem, problem);
      set(this.input, "aria-invalid", problem ? "true" : null);
    }
  }

  /** The dialog. `page` is what the panels have; `desk` is `{starter, author, isReady}`. */
  class Dialog {
    constructor(page, { starter, author, isReady }) {
      Object.assign(this, { page, starter, author, isReady, name: "", built: "", list: [], asked: null });
      byId("start-close").onclick = () => byId("start").close();
      byId("start-on").onchange = () => this.draw();
      byId("start-fields").oninput = ({ target }) => this.changed(target);
      byId("start-form").onsubmit = (event) => { event.preventDefault(); this.submit(); };
    }

    get offer() { return starting.offers(this.page.view, this.page.now).find(({ name }) => name === this.name); }

    open(name) {
      Object.assign(this, { name, built: "", asked: null, list: [] });
      setText(byId("start-title"), `Start ${shown(name)}`);
      setText(byId("start-problem"), "");
      byId("start-on").replaceChildren();
      this.draw();
      byId("start").showModal();
      // the values, not the button that leaves
      (this.list[0]?.input ?? byId("start-write")).focus();
    }

    close() { byId("start").close(); }

    /** Bring the dialog up to date with what engines offer now; what was entered stays. */
    draw() {
      const offer = this.offer, engines = offer?.engines ?? [];
      this.drawTargets(engines);
      const chosen = this.target, able = engines.filter(({ why }) => !why);
      const one = chosen === starting.EVERY ? able[0] : engines.find(({ engine }) => engine.source === chosen);
      if (one) this.build(one.row.params);
      setText(byId("start-doc"), one ? shown(one.row.doc, 500) : "");
      const state = this.hindrance(one);
      setText(byId("start-state"), state);
      byId("start-write").disabled = state !== "";
      if (this.asked && this.asked === this.starter.latest && !this.starter.isWaiting) this.show(this.asked);
      this.drawWrites();
    }

    get target() { return byId("start-on").value; }

    hindrance(one) {
      if (!this.isReady()) return "The page is not connected to the broker.";
      if (this.starter.isWaiting) return "Sent, waiting for the answer …";
      if (!one) return `No engine offers ${shown(this.name)} now.`;
      if (one.why) return `${shown(one.engine.source, 60)} ${one.why}.`;
      return this.page.actions.isRefused(starting.requestTopic(this.target, this.name)) ? "This user lacks the rights to start it." : "";
    }

    drawTargets(engines) {
      const select = byId("start-on"), able = engines.filter(({ why }) => !why), before = select.value;
      const options = engines.map(({ engine, why }) => ({ value: engine.source, text: `${shown(engine.source, 60)}${why ? `: ${why}` : ""}`, off: why !== "" }));
      if (able.length > 1) options.push({ value: starting.EVERY, text: `each of the ${able.length} engines that offer it`, off: false });
      const text = JSON.stringify(options);
      if (select.dataset.shown !== text || !select.children.length) {
        select.dataset.shown = text;
        select.replaceChildren(...options.map(({ value, text: label, off }) => make("option", { value, ...(off ? { disabled: "" } : {}) }, label)));
        select.value = options.some(({ value }) => value === before) ? before : able[0]?.engine.source ?? engines[0]?.engine.source ?? "";
      }
    }

    build(schema) {
      const text = JSON.stringify(schema);
      if (this.built === text) return;
      const kept = new Map(this.list.filter(({ touched }) => touched).map((field) => [field.found.name, field.entered]));
      this.built = text;
      const { list, more } = forms.of(schema);
      this.list = list.map((found, at) => new Field(found, at));
      for (const field of this.list) if (kept.has(field.found.name)) Object.assign(field, { entered: kept.get(field.found.name), touched: true });
      byId("start-fields").replaceChildren(...this.list.map(({ node }) => node),
        ...(more ? [make("p", { class: "hint" }, `${words.plural(more, "more parameter is", "more parameters are")} not shown: “cascade start” takes all.`)] : []));
    }

    read() {
      return forms.readAll(this.list.map(({ found }) => found), new Map(this.list.map((field) => [field.found.name, field.entered])));
    }

    changed(target) {
      const field = this.list.find(({ input }) => input === target);
      if (!field) return;
      field.touched = true;
      this.asked = null;
      // what is still being typed is not wrong yet
      if (field.problem.textContent) field.tell(this.read().problems.get(field.found.name) ?? "");
      this.drawWrites();
    }

    drawWrites() {
      const { params, problems } = this.read();
      setText(byId("start-writes"), problems.size || !this.target ? "" : shown(`writes ${starting.requestTopic(this.target, this.name)}  ${JSON.stringify({ params })}`, 400));
    }

    submit() {
      const { params, problems } = this.read();
      this.list.forEach((field) => field.tell(problems.get(field.found.name) ?? ""));
      setText(byId("start-problem"), "");
      if (problems.size) return this.list.find(({ found }) => problems.has(found.name)).input.focus();
      const able = (this.offer?.engines ?? []).filter(({ why }) => !why).map(({ engine }) => engine.source);
      if (!able.length || byId("start-write").disabled) return undefined;
      const sources = this.target === starting.EVERY ? able : [this.target];
      this.starter.ask({ name: this.name, target: this.target, sources, params, by: this.author() });
      this.asked = this.starter.latest;
      return undefined;
    }

    /** Show once why a request has started nothing: beside the fields that it names. */
    show(step) {
      this.asked = null;
      if (step.state === "accepted") return;
      const refused = [...step.answers.values()].filter(({ code }) => code === "invalid"), names = this.list.map(({ found }) => found.name);
      const found = refused.length ? forms.placed(refused[0].reason, names) : new Map();
      this.list.forEach((field) => field.tell(field.found.name ? words.shown(found.get(field.found.name) ?? "", 300) : ""));
      const named = this.list.find(({ found: { name } }) => name && found.has(name));
      const isPlaced = named && !found.has("") && step.answers.size === 1;
      setText(byId("start-problem"), isPlaced ? `${shown(step.sources[0], 60)} refuses a value.` : this.starter.status().text);
      (named?.input ?? byId("start-write")).focus();
    }
  }

  return { Panel, Dialog };
})();
