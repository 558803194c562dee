"use strict";
/** The page: it connects, folds messages into the view, draws at most ten times a second, and steers. */
(() => {
  const { byId, make, setText, set, show } = drawing;
  const DRAW_EVERY = 100, WRONG_CLOCK = 30, MAX_GRAPHS = 50;

  // as in the style
  const narrow = matchMedia("(max-width: 60rem)");
  const monotonic = () => performance.now() / 1000;
  const wall = () => Date.now() / 1000;

  let view = new views.View();
  let link = null;
  // the moment at which the link was lost, until everything has arrived again: `{wall, monotonic}`
  let frozen = null;
  let dirty = true;
  let drawn = 0;
  // by source: this computer's clock minus the engine's, in seconds
  const skews = new Map();
  // by topic of a register
  const firstSeen = new Map();
  const desk = new steering.Desk({ link: () => link, view: () => view, now: () => page.now, changed: () => { dirty = true; } });

  const starter = new starting.Starter({ link: () => link, view: () => view, now: () => page.now, changed: () => { dirty = true; },
    refused: desk.refused, accepted: openStarted });

  /** What the panels need of the page. */
  const page = {
    get view() { return view; },
    get now() { return frozen?.monotonic ?? monotonic(); },
    /** This computer's clock, corrected where the engines agree that it is wrong. It stands still without a link, as all clocks here do. */
    get clock() { return shownWall() - commonSkew(); },
    /** The engine's clock; null before a report that was not kept has shown how it differs from this computer's. */
    clockOf: (engine) => (skews.has(engine?.source) ? shownWall() - skews.get(engine.source) : null),
    since, ago, asOf,
    selected: "",
    // the page of a run of the past, while one is open
    past: null,
    timelines: new timelines.Timelines(),
    // by run: the latest graph, also of runs that have ended since
    graphs: new Map(),
    isKnown: () => link?.isReady === true && link.proved,
    /** Whether a constraint that the view does not have is not on the broker. */
    knowsRegisters: () => isComplete() && mayRead(evidence.CONSTRAINT_TOPICS),
    /** The engines whose reports the broker's rules hide, or do not permit. */
    unreported: () => (isComplete() ? [...view.engines.values()].filter((engine) => engine.isUnreported).map(({ source }) => source) : []),
    hasNoState: (engine) => isSure() && engine.hasNoState(page.now),
    mayRead,
    unknown,
    choose,
    actions: { togglePause, limit: openLimit, cancel: openCancel, lift, select, isPaused, pausedBy, isOff: (topic) => !link?.isReady || desk.refused.has(topic),
      isRefused: (topic) => desk.refused.has(topic), start: (name) => dialog.open(name), obeyed, redraw: () => { dirty = true; } },
  };

  function shownWall() { return frozen?.wall ?? wall(); }

  /** Return a count with the moment at which it was right, if that is not now. */
  function asOf(text) { return frozen && text ? `at ${words.moment(frozen.wall)}: ${text}` : text; }

  function mayRead(filter) { return !link?.refused.has(filter); }

  /** Whether an engine that has no state in the view has none on the broker: everything that is retained has arrived, and this user may read it. */
  function isSure() { return isComplete() && mayRead(evidence.STATE_TOPICS); }

  function isComplete() { return Boolean(link?.proved && (link.isReady || frozen)); }

  /** Return why the page cannot say that there is nothing. */
  function unknown() {
    if (link?.isReady) return "Nothing has arrived: the broker has nothing, or this user may not read it.";
    return link?.isLinked ? "Asking the broker …" : "Not known: the page is not connected to the broker.";
  }

  // Messages

  function onMessage(topic, payload, retained) {
    dirty = true;
    if (topic.startsWith(starting.RESPONSES)) return starter.answer(topic, payload);
    const known = view.registers.get(topic);
    const message = view.fold(topic, payload, { now: monotonic(), retained });
    desk.see(topic, payload);
    if (message?.is === "event") page.timelines.take(message);
    else if (message?.is === "graph") keepGraphs(message);
    else if (message?.is === "register" && !(known && views.same(known, message))) firstSeen.set(topic, monotonic());
    else if (message?.is === "cleared") firstSeen.delete(topic);
    if (!retained && message?.is === "constraints") noteReach(message);
    if (!retained && ["runs", "constraints"].includes(message?.is) && message.seconds !== null) noteClock(message);
    dirty = true;
  }

  /** Count the reports in a row of an engine in sync that do not list a register which covers it and is not new. */
  function noteReach({ source, sync, more, applied }) {
    if (sync !== "synced" || more) return;
    const engine = view.engines.get(source), topics = ["global", `source:${source}`]
      .flatMap((scope) => ["", "pause", "concurrency", "rate_limit"].map((type) => fields.registerTopic(scope, type)));
    const old = topics.filter((topic) => age(topic) > steering.SILENT_SECONDS);
    if (old.length) engine.missed = old.every((topic) => Object.hasOwn(applied, topic)) ? 0 : engine.missed + 1;
  }

  /** Return for how long a register that is in force has been on the broker, as far as this page knows; 0 for any other. */
  function age(topic) {
    const register = view.registers.get(topic), expires = register?.expires_at ?? Infinity;
    return register && !register.problem && expires > page.clock ? monotonic() - (firstSeen.get(topic) ?? Infinity) : 0;
  }

  function keepGraphs({ source, runs: found }) {
    for (const graph of found) {
      const key = views.runKey(source, graph.run_id);
      page.graphs.delete(key);
      page.graphs.set(key, graph);
      if (page.graphs.size > MAX_GRAPHS) page.graphs.delete(page.graphs.keys().next().value);
    }
  }

  /** Return how long something lasts: a length where the engine's clock is known, else the time that the engine gave. */
  function since(engine, seconds, what = "") {
    const length = words.between(seconds, page.clockOf(engine)), at = words.moment(seconds);
    return length ? `${what}for ${length}` : at && `${what}since ${at}`;
  }

  function ago(engine, seconds) {
    const length = words.between(seconds, page.clockOf(engine)), at = words.moment(seconds);
    return length ? `${length} ago` : at && `at ${at}`;
  }

  /** Small differences are delays of the network. */
  function noteClock({ source, seconds }) {
    const skew = wall() - seconds;
    skews.set(source, Math.abs(skew) < words.SLACK ? 0 : skew);
    if (skews.size > 1000) skews.delete(skews.keys().next().value);
  }

  /** The median of the live engines' differences, or of all that are known where none is live: with several, one wrong clock does not count. */
  function commonSkew() {
    const live = [...skews.keys()].filter((source) => view.engines.get(source)?.isLive(page.now));
    const found = (live.length ? live : [...skews.keys()]).map((source) => skews.get(source)).sort((one, other) => one - other);
    return found.length ? found[Math.floor(found.length / 2)] : 0;
  }

  /** Return the topics that the view has and the retained set has not; after the second look, forget them. */
  function onComplete({ proved, seen, second }) {
    const missing = retainedTopics().filter((topic) => !seen.has(topic));
    if (second && proved) missing.forEach((topic) => onMessage(topic, new Uint8Array(0), true));
    return proved ? missing : [];
  }

  function retainedTopics() {
    const named = [...view.engines.values()].filter((engine) => engine.presence?.session);
    return [...view.registers.keys(), ...named.flatMap((engine) => [`cascade/status/${fields.encodeLevel(engine.source)}`,
      ...["constraints", "runs", "graph", "ended", "summary", "host", "workflows"].filter((kind) => engine[kind])
        .map((kind) => `cascade/state/${fields.encodeLevel(engine.source)}/${kind}`)])];
  }

  // The past

  const asksHistory = document.querySelector('meta[name="history"]')?.content ?? "";
  let list = null, night = null, source = null, wanted = null;
  const fragment = () => new URLSearchParams(location.hash.slice(1));
  const linkOf = (run) => history_.link(run.run_id, run.source, fragment().get("token"));

  function startHistory() {
    wanted = readWanted();
    if (!asksHistory) return;
    source = new history_.Source(own(asksHistory), givenToken(), () => { dirty = true; });
    list = new history_.List(source, page, (run) => { window.history.pushState(null, "", linkOf(run)); open(run); });
    night = new nights.Night(source, linkOf);
    show(byId("past-section"), true);
    show(byId("night-section"), true);
  }

  /** Return the run that the address names, `#run=night-7`, as a question. */
  function readWanted() {
    const run_id = fragment().get("run"), on = fragment().get("on");
    return run_id ? { run_id, ...(on ? { source: on } : {}) } : null;
  }

  function follow() {
    wanted = readWanted();
    if (!wanted) closePast();
    dirty = true;
  }

  /** Show the run that a link names: the live one, or that of the past once the broker is known not to have it; a lost one is of the past. */
  function seek() {
    if (!wanted) return;
    const found = [...view.runs].find(([, run]) => run.run_id === wanted.run_id && (!wanted.source || run.source === wanted.source));
    if (found && (!source || progress.isActive(progress.ofRun(view, found[1], page.now).status))) {
      wanted = null;
      page.past = null;
      page.selected = page.chosen = found[0];
      return;
    }
    // before everything has arrived, it may still prove to be a live one
    if (source && ["connecting", "syncing"].includes(link?.state)) return;
    if (source) open(wanted);
    else if (link?.isReady) {
      report("past", `The run ${shownRun(wanted)} is not on the broker. Past runs need a collector: cascade web --history FILE.sqlite.`);
      wanted = null;
    }
  }

  const shownRun = ({ run_id, source: on }) => words.shown(run_id, 80) + (on ? ` on ${words.shown(on, 60)}` : "");

  function open(run) {
    wanted = null;
    report("past", "");
    source.ask("run", run, (answer) => {
      page.past = answer.error ? null : history_.opened(page, answer);
      report("past", answer.error ? `${words.shown(answer.error, 500)}.` : answer.problem || (page.past ? "" : `The run ${shownRun(run)} cannot be read.`));
      if (page.past) byId("details").scrollIntoView({ block: "nearest" });
    });
  }

  function closePast() {
    if (!page.past) return;
    page.past = null;
    report("past", "");
    const token = fragment().get("token");
    window.history.replaceState(null, "", token ? `#token=${encodeURIComponent(token)}` : location.pathname + location.search);
    dirty = true;
  }

  // Connection

  const isServed = /^https?:$/.test(location.protocol);
  const own = (path) => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
  // the broker of `cascade web`, which serves this page: a link cannot name another one
  const served = document.querySelector('meta[name="broker"]')?.content ?? "";
  const inLink = served ? "" : new URLSearchParams(location.search).get("broker") ?? "";

  /** Return the broker's address: that of `cascade web`, else `?broker=`, else that of the host that serves the page. */
  function givenAddress() {
    if (served) return served.startsWith("/") ? own(served) : served;
    return inLink || (isServed ? own("/mqtt") : "");
  }

  // another web site may have made the link: then a person has to confirm the broker that it names
  const isForeign = isServed && inLink !== "" && !inLink.startsWith(own("/"));

  /** Return the token in the URL's fragment, `#TOKEN` or `#token=TOKEN`, or an empty text. Only our own relay gets it. */
  const givenToken = () => fragment().get("token") ?? /^#([\w-]+)$/.exec(location.hash)?.[1] ?? "";

  function connect(address, { username = "", password = "" } = {}) {
    if (link?.isLinked) frozen ??= link.lastKnown();
    link?.close();
    link = null;
    dirty = true;
    const problem = words.addressProblem(address, location.protocol);
    if (problem) {
      byId("connection").open = true;
      return report("address", problem);
    }
    report("address", "");
    const url = new URL(address);
    const options = { username: username || decodeURIComponent(url.username), password };
    url.username = "";
    url.password = "";
    url.hash = "";
    // nats-server answers there only, mosquitto everywhere
    if (url.pathname === "/") url.pathname = "/mqtt";
    options.shownUrl = url.href;
    const token = url.host === location.host ? givenToken() : "";
    const reader = `${options.username}\n${options.shownUrl}`;
    // another user may see other things
    if (lastReader !== reader) forget();
    lastReader = reader;
    link = new Link({ ...options, url: url.href, token }, { message: onMessage, linked: () => { dirty = true; }, complete: onComplete, change: onChange });
    return undefined;
  }

  let lastReader = "";

  function forget() {
    view = new views.View();
    frozen = null;
    page.timelines = new timelines.Timelines();
    page.selected = "";
    [skews, firstSeen, page.graphs, desk.refused].forEach((each) => each.clear());
    desk.latest = null;
    starter.latest = null;
  }

  function onChange() {
    dirty = true;
    frozen = link?.isReady ? null : frozen ?? link?.lost ?? null;
    if (link?.state === "refused" || (link?.state === "lost" && !link.everLinked)) byId("connection").open = true;
    if (link?.isReady) byId("connection").open = false;
  }

  const reported = new Map();
  function report(name, text) {
    if (text) reported.set(name, text);
    else reported.delete(name);
    dirty = true;
  }

  // Steering

  const author = () => byId("by").value.trim();
  const lasting = (id) => (byId(id).value ? Number(byId(id).value) : null);

  function isPaused(scope) {
    return steering.clearing(scope, "pause", view.registers).topics.some((topic) => view.registers.get(topic)?.type === "pause");
  }

  /** Ask before everything on the broker is paused: it is one tap away, and engines that the page does not show obey, too. */
  function askPauseAll() {
    if (isPaused("global")) return togglePause("global", "everything");
    const online = view.live(page.now).length;
    setText(byId("pause-text"), `Nothing starts any more on any engine that uses this broker (${words.plural(online, "engine")} online now). What runs goes on.`);
    setText(byId("pause-writes"), `writes ${fields.registerTopic("global", "pause")}`);
    return byId("pause").showModal();
  }

  function togglePause(scope, name) {
    if (isPaused(scope)) return desk.write(`Resume ${name}`, steering.clearing(scope, "pause", view.registers));
    const change = steering.setting(scope, "pause", { seconds: lasting("lasts"), by: author(), now: page.clock });
    return desk.write(`Pause ${name}`, change);
  }

  function lift(register) {
    if (register) desk.write(`Lift ${words.shown(words.describe(register.type, register.params ?? {}))}`, steering.clearingTopic(register));
  }

  /** Return the scopes of the pauses that an engine reports. */
  function pausedBy(engine) {
    const rows = engine.constraints?.effective.filter((row) => row.type === "pause") ?? [];
    return [...new Set(rows.map((row) => words.shown(String(row.scope), 40)))].join(", ") || "a constraint";
  }

  function obeyed(register) {
    if (register.problem) return "";
    if (!link?.isReady) return "not known who obeys it: no link";
    const since = firstSeen.get(register.topic) ?? monotonic();
    return steering.inWords(steering.compliance(view, register, { now: monotonic(), since }));
  }

  function openLimit(scope) {
    byId("limit-scope").value = scope;
    byId("limit-lasts").value = byId("lasts").value;
    byId("limit").showModal();
    checkLimit();
  }

  /** Return the limit in the dialog as a change. @throws {Error} with what to write instead. */
  function readLimit() {
    const scope = readScope(byId("limit-scope").value.trim());
    const type = byId("limit-type").value;
    const params = type === "pause" ? {} : type === "concurrency" ? { limit: readCount() } : { rate: readRate() };
    return steering.setting(scope, type, { params, seconds: lasting("limit-lasts"), by: author(), now: page.clock });
  }

  function readScope(text) {
    const at = text.indexOf(":"), value = text.slice(at + 1).trim();
    if (text === "global") return text;
    const kind = at < 0 ? "source" : text.slice(0, at);
    if (!["project", "source", "workflow", "run", "task"].includes(kind)) throw new Error(`${words.shown(kind, 40)} is not a scope: write global, project:ID, source:ID, workflow:NAME, run:ID or task:PATTERN.`);
    if (!value) throw new Error(`Write a name after ${kind}:, or global for everything.`);
    if (value.length > 256) throw new Error("The scope is longer than 256 characters.");
    return `${kind}:${at < 0 ? text : text.slice(at + 1)}`;
  }

  function readCount() {
    const text = byId("limit-value").value.trim();
    if (!/^\d{1,15}$/.test(text)) throw new Error("Write a whole number from 0, such as 3.");
    return Number(text);
  }

  function readRate() {
    const found = /^(\d{1,15}(?:\.\d{1,15})?)(\/(?:s|sec|second|m|min|minute|h|hour)s?)?$/.exec(byId("limit-value").value.replaceAll(/\s/g, ""));
    if (!found) throw new Error("Write 10/s, 10/m or 10/h.");
    if (Number(found[1]) === 0) throw new Error("A rate of 0 never starts a task: choose pause.");
    return found[2] ? found[0] : Number(found[0]);
  }

  function checkLimit() {
    const type = byId("limit-type").value;
    show(byId("limit-value-label"), type !== "pause");
    setText(byId("limit-value-help"), { concurrency: "At most so many tasks of the scope run at the same time in each engine.", rate_limit: "Starts per second, minute or hour: 10/s, 10/m or 10/h.", pause: "Nothing in the scope starts; what runs goes on." }[type]);
    try {
      const change = readLimit();
      setText(byId("limit-writes"), `writes ${change.topic}  ${JSON.stringify(change.message)}`);
      setText(byId("limit-problem"), "");
      return change;
    } catch (error) {
      setText(byId("limit-writes"), "");
      setText(byId("limit-problem"), error.message);
      return null;
    }
  }

  function openCancel(run) {
    page.cancelling = run;
    setText(byId("cancel-text"), `${words.shown(panels.titleOf(run))} on ${words.shown(run.source, 60)}, run ${words.shown(run.run_id, 60)}: its tasks are cancelled. A cancelled run does not go on.`);
    setText(byId("cancel-writes"), `writes ${fields.registerTopic(`run:${run.run_id}`, "cancel")} for ${steering.CANCEL_SECONDS} s`);
    byId("cancel").showModal();
  }

  function doCancel() {
    const run = page.cancelling;
    const change = steering.setting(`run:${run.run_id}`, "cancel", { seconds: steering.CANCEL_SECONDS, by: author(), now: page.clock });
    desk.write(`Cancel ${words.shown(panels.titleOf(run))}`, change);
  }

  function select(key) {
    closePast();
    page.selected = key;
    page.chosen = key;
    dirty = true;
  }

  /** Keep the user's choice; else show the first active run, and keep showing it when it ends. */
  /** Show an active run; where none is, the latest that failed, else the latest. */
  function choose(active, over) {
    if (page.chosen && view.runs.has(page.chosen)) {
      page.selected = page.chosen;
      return;
    }
    const stays = view.runs.has(page.selected) && (!active.length || active.some(({ key }) => key === page.selected));
    const found = active[0] ?? over.find(({ run }) => run.end && ended.FAILED.includes(run.status)) ?? over[0];
    if (!stays) page.selected = found?.key ?? "";
  }

  // Drawing

  function drawLink() {
    const texts = { connecting: "connecting to", syncing: "connected, reading from", ready: "connected to", lost: "no link to", refused: "refused by", unusable: "no link to" };
    const state = link?.state ?? "none";
    set(byId("link"), "data-link", state);
    setText(byId("link-text"), link ? `${texts[state]} ${words.shown(link.options.shownUrl, 80)}` : "Not connected: enter the broker's address");
  }

  function problems() {
    const found = [...reported.values()].map((text) => ({ text, bad: true }));
    if (frozen) found.push({ text: words.frozen(frozen.wall, link?.isLinked), bad: !link?.isLinked });
    if (link?.problem) found.push({ text: link.problem, bad: true });
    if (link?.isLinked && link.denied) found.push({ text: link.denied, bad: true });
    if (link?.isReady && !link.proved) found.push({ text: "The broker does not show that everything has arrived: it is slow, or this user may not write its own cascade/sync/USER/+. What is missing here may still come. “cascade acl --observer USER” prints the rules of a user who only looks." });
    const others = isSure() ? view.withoutState(page.now) : [];
    if (others.length) found.push({ text: evidence.banner(others.map(({ source }) => source)) });
    const unreached = view.live(page.now).filter((engine) => engine.isOutOfReach);
    if (unreached.length) found.push({ text: evidence.unreached(unreached.map(({ source }) => source)) });
    const skew = commonSkew();
    if (Math.abs(skew) > WRONG_CLOCK) found.push({ text: clockProblem(skew) });
    const wrong = [...skews].filter(([, each]) => Math.abs(each - skew) > WRONG_CLOCK).map(([source]) => words.shown(source, 40));
    const future = fromTheFuture();
    if (future.length) found.push({ text: `What ${future.slice(0, 5).join(", ")} reported last lies in the future: its clock or this computer's is wrong. Its times are shown as it gave them.` });
    if (wrong.length) found.push({ text: `The clock of ${wrong.slice(0, 5).join(", ")} differs from the other engines' clocks. Times of such an engine are shown by its own clock; correct that clock.` });
    return found;
  }

  /** Return the engines that are gone and whose last times have not come yet: their clock can no longer be compared. */
  function fromTheFuture() {
    const latest = ({ presence, runs: report, summary }) => Math.max(presence?.seconds ?? 0, report?.seconds ?? 0, summary?.seconds ?? 0);
    return [...view.engines.values()].filter((engine) => !skews.has(engine.source) && latest(engine) > wall() - commonSkew() + WRONG_CLOCK)
      .map(({ source }) => words.shown(source, 40));
  }

  function clockProblem(skew) {
    const times = `This computer's clock is ${words.duration(Math.abs(skew))} ${skew > 0 ? "ahead of" : "behind"}`;
    return skews.size > 1 ? `${times} the engines'. Ages and time limits here use the engines' clock; correct this computer's clock.`
      : `${times} the engine's: one of the two is wrong. Ages and time limits here use the engine's clock.`;
  }

  function drawProblems() {
    const found = problems(), place = byId("problems");
    const text = JSON.stringify(found);
    if (place.dataset.shown === text) return;
    place.dataset.shown = text;
    place.replaceChildren(...found.map((each) => make("p", { class: each.bad ? "note bad" : "note" }, each.text)));
  }

  function drawSteering() {
    const holds = isPaused("global"), button = byId("pause-all"), topic = fields.registerTopic("global", "pause");
    setText(button, holds ? "Resume everything" : "Pause everything");
    set(button, "data-writes", topic);
    set(button, "title", `writes ${topic}`);
    button.disabled = page.actions.isOff(topic);
    byId("limit-all").disabled = !link?.isReady;
    const [step] = [desk.status(), starter.status()].filter(Boolean).sort((one, other) => other.at - one.at);
    set(byId("step"), "class", step?.is ?? "");
    if (!step) return byId("step").replaceChildren();
    if (!byId("step").firstChild) byId("step").append(make("span"), make("br"), make("code"));
    setText(byId("step").firstChild, `${step.title}: ${step.text}`);
    return setText(byId("step").lastChild, words.shown(step.topic, 300));
  }

  const everything = new panels.Panels(page);
  const dialog = new workflows.Dialog(page, { starter, author, isReady: () => link?.isReady === true });

  /** The run to scroll to. The page scrolls once the run is drawn: before that it is too short. */
  let started = "";

  /** Show the run that a request has started as soon as its engine reports it. */
  function openStarted(source, run_id) {
    dialog.close();
    started = page.chosen = views.runKey(source, run_id);
  }

  function showStarted() {
    if (!started || page.selected !== started || page.chosen !== started) return;
    started = "";
    byId("runs-title").scrollIntoView();
  }

  function draw() {
    drawLink();
    drawProblems();
    drawSteering();
    starter.look();
    seek();
    everything.draw();
    showStarted();
    list?.draw(page.past?.selected ?? "");
    night?.draw();
    if (byId("start").open) dialog.draw();
    if (byId("limit").open) checkLimit();
    byId("limit-write").disabled = byId("cancel-write").disabled = !link?.isReady;
    set(document.body, "data-frozen", frozen ? "" : null);
    document.title = link?.state === "lost" ? "Cascade: no link" : "Cascade";
  }

  /** The only place that draws. A second without news draws too: ages grow. */
  function frame(time) {
    if ((dirty && time - drawn >= DRAW_EVERY) || time - drawn >= 1000) {
      dirty = false;
      drawn = time;
      draw();
    }
    requestAnimationFrame(frame);
  }

  function showWrites({ target }) {
    const button = target.closest?.("[data-writes]");
    setText(byId("writes"), button ? `writes ${button.dataset.writes}` : "");
  }

  function listen() {
    byId("connect").onsubmit = (event) => {
      event.preventDefault();
      connect(byId("broker").value.trim(), { username: byId("user").value, password: byId("password").value });
    };
    byId("pause-all").onclick = askPauseAll;
    byId("pause-close").onclick = () => byId("pause").close();
    byId("pause-form").onsubmit = (event) => { event.preventDefault(); byId("pause").close(); togglePause("global", "everything"); };
    byId("limit-all").onclick = () => openLimit("global");
    byId("limit-close").onclick = () => byId("limit").close();
    byId("limit-form").oninput = checkLimit;
    byId("limit-type").onchange = () => { byId("limit-value").value = byId("limit-type").value === "rate_limit" ? "10/m" : "1"; checkLimit(); };
    byId("limit-form").onsubmit = (event) => {
      event.preventDefault();
      const change = checkLimit();
      if (!change) return;
      byId("limit").close();
      desk.write(`Limit ${words.shown(change.scope, 60)}: ${words.describe(change.type, change.message.params)}`, change);
    };
    byId("cancel-close").onclick = () => byId("cancel").close();
    byId("cancel-form").onsubmit = (event) => { event.preventDefault(); byId("cancel").close(); doCancel(); };
    for (const name of ["pointerover", "focusin"]) document.addEventListener(name, showWrites);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) link?.check(); });
    narrow.addEventListener("change", arrange);
    window.addEventListener("online", () => link?.check());
    window.addEventListener("hashchange", follow);
    window.addEventListener("popstate", follow);
    byId("details-close").onclick = closePast;
  }

  /** On a narrow screen the runs of before come last, for eyes and for keys. */
  function arrange() {
    byId(narrow.matches ? "work" : "lists").append(byId("recent-section"), byId("past-section"));
  }

  function start() {
    if (window.top !== window.self) {
      // a click on it could be meant for the page around it
      document.body.replaceChildren("This page does not work inside another one.");
      return;
    }
    listen();
    arrange();
    byId("limit-lasts").append(...byId("lasts").cloneNode(true).children);
    const address = givenAddress();
    byId("broker").value = address || `ws://${location.hostname || "localhost"}:9001`;
    byId("broker").readOnly = served !== "";
    byId("connection").open = !address || isForeign;
    if (isForeign) report("address", `The link names the broker ${words.shown(address, 80)}. Connect only if you know it.`);
    else if (address) connect(address);
    startHistory();
    requestAnimationFrame(frame);
  }

  window.cascade = { view: views.ofMessages };
  start();
})();
