"use strict";
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const PARTS = ["input", "kept", "removed"];

  // Resolves when a condition of an <audio> holds; it is checked after its events.
  const until = (audio, holds) => new Promise((resolve, reject) => {
    const events = ["loadedmetadata", "loadeddata", "canplay", "seeked"];
    const check = () => {
      if (!audio.error && !holds()) return;
      for (const name of [...events, "error"]) audio.removeEventListener(name, check);
      if (audio.error) reject(new Error("cannot be played")); else resolve();
    };
    for (const name of [...events, "error"]) audio.addEventListener(name, check);
    check();
  });

  // One shared clock: several sounds of the same length, of which one plays.
  class Clock {
    constructor(host, onChange, onProblem) {
      Object.assign(this, { host, onChange, onProblem });
      this.elements = new Map();
      this.audio = null;  // the sound that plays
      this.playing = false;
      this.repeat = false;
      this.turn = 0;  // a later choice overtakes an earlier one that still loads
      this.resting = 0;  // the position of a sound that is not loaded yet
    }

    get position() {
      return this.audio && this.audio.placed ? this.audio.currentTime : this.resting;
    }

    element(url) {
      let audio = this.elements.get(url);
      if (!audio) {
        audio = document.createElement("audio");
        audio.preload = "auto";
        audio.src = url;
        audio.addEventListener("ended", () => {
          if (audio === this.audio) this.pause();
        });
        this.elements.set(url, audio);
        this.host.append(audio);
      }
      return audio;
    }

    async place(audio, seconds) {
      await until(audio, () => audio.readyState >= 1);
      const last = Math.max(0, audio.duration - 0.02);
      audio.currentTime = Math.min(seconds, last);
      await until(audio, () => !audio.seeking && audio.readyState >= 2);
      audio.placed = true;
    }

    // The sound that plays goes on until the new one is ready at its position.
    async select(url) {
      const turn = ++this.turn;
      const next = this.element(url);
      const before = this.audio;
      if (next === before) return;
      try {
        next.placed = false;
        await this.place(next, this.position);
        if (turn !== this.turn) return;
        if (Math.abs(this.position - next.currentTime) > 0.04) {
          await this.place(next, this.position);
          if (turn !== this.turn) return;
        }
        this.audio = next;
        next.loop = this.repeat;
        if (before) before.pause();
        if (this.playing) await next.play();
      } catch (error) {
        this.report(error, url);
      }
      this.onChange();
    }

    async play(url) {
      this.playing = true;
      this.onChange();
      if (!this.audio || this.elements.get(url) !== this.audio) {
        await this.select(url);
        return;
      }
      try {
        const left = this.audio.duration - this.audio.currentTime;
        if (left < 0.05) await this.place(this.audio, 0);
        if (this.playing) await this.audio.play();
      } catch (error) {
        this.report(error, url);
      }
    }

    pause() {
      this.playing = false;
      if (this.audio) this.audio.pause();
      this.onChange();
    }

    seek(seconds) {
      this.resting = seconds;
      if (this.audio && this.audio.placed) this.audio.currentTime = seconds;
      this.onChange();
    }

    setRepeat(repeat) {
      this.repeat = repeat;
      if (this.audio) this.audio.loop = repeat;
    }

    report(error, url) {
      if (error.name === "AbortError") return;  // a pause overtook a play
      this.playing = false;
      this.onProblem(error.name === "NotAllowedError"
        ? "The browser does not allow the page to play: press play once more."
        : `${url} cannot be played.`);
    }

    // Players are few in a browser: a card that is left gives its own back.
    release() {
      this.resting = this.position;
      this.pause();
      this.turn++;
      this.audio = null;
      for (const audio of this.elements.values()) {
        audio.removeAttribute("src");
        audio.load();
        audio.remove();
      }
      this.elements.clear();
    }
  }

  const timeText = (seconds) => {
    const tenths = Math.round(10 * seconds);
    const rest = String(Math.floor(tenths % 600 / 10)).padStart(2, "0");
    return `${Math.floor(tenths / 600)}:${rest}.${tenths % 10}`;
  };

  class Card {
    constructor(root, content, index) {
      Object.assign(this, { root, content, index });
      this.part = "kept";
      this.method = 0;
      this.step = content.start;
      this.find = (selector) => root.querySelector(selector);
      this.all = (selector) => [...root.querySelectorAll(selector)];
      this.tiles = this.all(".of-method");
      this.tracks = this.all(".track");
      this.clock = new Clock(root, () => this.showClock(), (text) => this.warn(text));
      this.clock.setRepeat(this.find(".repeat").getAttribute("aria-pressed") === "true");
      const last = Math.max(1, content.shares.length - 1);
      this.all(".steps span").forEach((span, i) => {
        span.style.left = `${100 * i / last}%`;
        span.addEventListener("click", () => this.turnDial(i));
      });
      this.listen();
      this.show();
      this.showPosition(0);
    }

    listen() {
      const on = (selector, event, react) => this.all(selector).forEach(
        (element) => element.addEventListener(event, () => react(element)));
      on(".play", "click", () => this.toggle());
      on(".parts button", "click", (b) => this.choosePart(b.dataset.part));
      on(".methods button", "click", (b) => this.chooseMethod(Number(b.dataset.method)));
      on(".knob", "input", (knob) => this.turnDial(Number(knob.value)));
      on(".position", "input", (bar) => this.clock.seek(Number(bar.value)));
      on(".repeat", "click", (button) => {
        this.clock.setRepeat(!this.clock.repeat);
        button.setAttribute("aria-pressed", this.clock.repeat);
      });
      on(".timeline button", "click", (b) => this.clock.seek(Number(b.dataset.start)));
      for (const track of this.tracks) this.listenToTrack(track);
      for (const picture of this.all(".picture")) {
        picture.addEventListener("click", (event) => {
          const box = picture.getBoundingClientRect();
          const share = (event.clientX - box.left) / box.width;
          this.clock.seek(Math.min(Math.max(share, 0), 1) * this.content.seconds);
        });
      }
      this.root.addEventListener("focusin", () => makeCurrent(this));
      this.root.addEventListener("pointerdown", () => makeCurrent(this));
    }

    // The line below a timeline tells the part under the pointer or with the focus, or
    // else the part that plays. Arrows move the focus from part to part.
    listenToTrack(track) {
      track.parts = [...track.querySelectorAll(".timeline button")];
      const timeline = track.querySelector(".timeline");
      const look = ({ target }) => this.tell(track, target.closest("button"));
      timeline.addEventListener("pointerover", look);
      timeline.addEventListener("focusin", look);
      timeline.addEventListener("pointerleave", () => this.tell(track, null));
      timeline.addEventListener("focusout", () => this.tell(track, null));
      timeline.addEventListener("keydown", (event) => {
        const { parts } = track, now = parts.indexOf(document.activeElement);
        const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0,
          End: parts.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        event.stopPropagation();  // the arrows do not turn the dial here
        if (parts[to]) this.reach(track, to).focus();
      });
    }

    tell(track, part) {
      const told = part || track.parts[track.segment];
      if (told) track.querySelector(".now-part").textContent = told.title;
    }

    // The tab key reaches one part of a timeline.
    reach(track, now) {
      track.parts.forEach((part, i) => { part.tabIndex = i === now ? 0 : -1; });
      return track.parts[now];
    }

    get chosen() { return this.content.methods[this.method].steps[this.step]; }

    get url() { return this.part === "input" ? this.content.sound : this.chosen[this.part]; }

    toggle() {
      if (this.clock.playing) { this.clock.pause(); return; }
      makeCurrent(this);
      for (const card of cards) if (card !== this) card.leave();
      this.clock.play(this.url);
      this.prepare();
    }

    leave() { if (this.clock.elements.size) this.clock.release(); }

    choosePart(part) { this.part = part; this.changed(); }

    chooseMethod(method) { this.method = method; this.changed(); }

    turnDial(step) {
      const last = this.content.shares.length - 1;
      this.step = Math.min(Math.max(step, 0), last);
      this.changed();
      this.announce();
    }

    changed() {
      this.warn("");
      this.show();
      if (this.clock.elements.size) {
        this.clock.select(this.url);
        this.prepare();
      }
    }

    // Loads what one key or one step of the dial can choose next.
    prepare() {
      const { steps } = this.content.methods[this.method];
      const urls = [this.content.sound, this.chosen.kept, this.chosen.removed];
      for (const near of [steps[this.step - 1], steps[this.step + 1]]) {
        if (near && this.part !== "input") urls.push(near[this.part]);
      }
      for (const url of urls) this.clock.element(url);
    }

    show() {
      const press = (selector, isOn) => this.all(selector).forEach(
        (button) => button.setAttribute("aria-pressed", isOn(button)));
      press(".parts button", (button) => button.dataset.part === this.part);
      press(".methods button", (button) => Number(button.dataset.method) === this.method);
      const share = this.content.shares[this.step];
      const knob = this.find(".knob");
      knob.value = this.step;
      knob.setAttribute("aria-valuetext", `${share} of the energy`);
      this.find(".share").textContent = share;
      this.all(".steps span").forEach((s, i) => s.classList.toggle("now", i === this.step));
      this.find(".of-input").classList.toggle("sounds", this.part === "input");
      this.tiles.forEach((tile, i) => this.showTile(tile, i));
    }

    showTile(tile, i) {
      const method = this.content.methods[i];
      const step = method.steps[this.step];
      tile.classList.toggle("sounds", this.part !== "input" && i === this.method);
      const image = tile.querySelector("img");
      if (image.getAttribute("src") !== step.picture) {
        image.src = step.picture;
        image.alt = `Spectrogram: what ${method.name} keeps, ${step.share} of the energy`;
      }
      tile.querySelector(".own-share").textContent = step.share;
      for (const [name, p, text] of [["kept", step.pKept, step.textKept],
        ["removed", step.pRemoved, step.textRemoved]]) {
        tile.querySelector(`.p-${name} .bar`).style.setProperty("--p", p);
        tile.querySelector(`.p-${name} .p`).textContent = text;
      }
      for (const dot of tile.querySelectorAll(".curve circle")) {
        dot.classList.toggle("now", Number(dot.dataset.step) === step.index);
      }
    }

    announce() {
      const { chosen } = this;
      this.find(".live").textContent = `${this.content.methods[this.method].name}, `
        + `${chosen.share} of the energy: ${this.content.target} has ${chosen.textKept} `
        + `in what is kept, ${chosen.textRemoved} in what is removed.`;
    }

    warn(text) {
      const problem = this.find(".problem");
      problem.textContent = text;
      problem.hidden = !text;
    }

    showClock() {
      const { playing, position } = this.clock;
      this.root.classList.toggle("playing", playing);
      this.find(".play").setAttribute("aria-label", playing ? "Pause" : "Play");
      this.showPosition(position);
      if (playing) animate(this);
    }

    showPosition(position) {
      const bar = this.find(".position");
      bar.value = position;
      const of = `${timeText(position)} of ${timeText(this.content.seconds)}`;
      bar.setAttribute("aria-valuetext", of);
      this.find(".time").textContent = timeText(position);
      this.root.style.setProperty("--at", position / this.content.seconds);
      for (const track of this.tracks) {
        const { segments } = this.content.methods[Number(track.dataset.method)];
        this.showSegment(track, segments, position);
      }
    }

    showSegment(track, segments, position) {
      let now = segments.findLastIndex(([start]) => start <= position + 0.01);
      if (now < 0) now = 0;
      if (track.segment === now) return;
      track.segment = now;
      track.parts.forEach((part, i) => {
        if (i === now) part.setAttribute("aria-current", "true");
        else part.removeAttribute("aria-current");
      });
      if (track.contains(document.activeElement)) return;
      this.tell(track, null);
      this.reach(track, now);
    }
  }

  let animated = null;
  function animate(card) {
    if (animated === card) return;
    animated = card;
    const frame = () => {
      if (animated !== card) return;
      if (!card.clock.playing) { animated = null; return; }
      card.showPosition(card.clock.position);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  const cards = [...document.querySelectorAll(".card")].map(
    (root, i) => new Card(root, data.cards[i], i));
  let current = null;
  function makeCurrent(card) {
    if (card === current) return;
    if (current) current.root.classList.remove("current");
    current = card;
    card.root.classList.add("current");
  }

  // Filter, search and sort
  const control = (id) => document.getElementById(id);
  const valueOf = (id) => control(id) ? control(id).value : "";
  const collator = new Intl.Collator(undefined, { numeric: true });

  function matches({ content }) {
    const of = valueOf("class"), condition = valueOf("condition");
    const words = valueOf("search").trim().toLowerCase();
    return (!of || content.ofClass === of || content.target === of)
      && (!condition || content.condition === condition)
      && content.name.toLowerCase().includes(words);
  }

  function order(a, b) {
    const by = valueOf("sort");
    const sign = control("descending").getAttribute("aria-pressed") === "true" ? -1 : 1;
    if (!by) return a.index - b.index;
    if (by === "name") {
      return sign * collator.compare(a.content.name, b.content.name) || a.index - b.index;
    }
    const [method, metric] = JSON.parse(by);
    const value = ({ content }) => content.methods.find(
      ({ name }) => name === method)?.metrics[metric] ?? null;
    const x = value(a), y = value(b);
    // Clips without a value come last in both orders.
    if (x === null || y === null) return (x === null) - (y === null) || a.index - b.index;
    return sign * (x - y) || a.index - b.index;
  }

  function arrange() {
    control("descending").disabled = !valueOf("sort");
    const shown = cards.filter(matches);
    for (const card of cards) {
      card.root.hidden = !shown.includes(card);
      if (card.root.hidden) card.leave();
    }
    control("cards").append(...[...cards].sort(order).map(({ root }) => root));
    control("none").hidden = shown.length > 0;
    control("count").textContent = shown.length === cards.length
      ? `${cards.length} ${cards.length === 1 ? "clip" : "clips"}`
      : `${shown.length} of ${cards.length} clips`;
  }

  for (const id of ["class", "condition", "sort"]) {
    control(id)?.addEventListener("change", arrange);
  }
  control("search").addEventListener("input", arrange);
  control("search").form.addEventListener("submit", (event) => event.preventDefault());
  control("descending").addEventListener("click", ({ currentTarget: button }) => {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    arrange();
  });

  // Keys act on the card with the focus, or else the one that was used last, or the first
  const writes = (element) => element.matches(
    "input[type=search], select, textarea, [contenteditable]");
  const cardOfKeys = () => {
    const usable = (card) => card && !card.root.hidden;
    const focused = document.activeElement?.closest(".card");
    const of = cards.find(({ root }) => root === focused);
    const first = control("cards").querySelector(".card:not([hidden])");
    return [of, current, cards.find(({ root }) => root === first)].find(usable);
  };
  const KEYS = {
    " ": (card) => card.toggle(),
    1: (card) => card.choosePart(PARTS[0]),
    2: (card) => card.choosePart(PARTS[1]),
    3: (card) => card.choosePart(PARTS[2]),
    ArrowLeft: (card) => card.turnDial(card.step - 1),
    ArrowRight: (card) => card.turnDial(card.step + 1),
    m: (card) => card.chooseMethod((card.method + 1) % card.content.methods.length),
  };

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    const react = KEYS[key];
    if (!react || event.ctrlKey || event.metaKey || event.altKey || writes(target)) return;
    const isRange = target.matches("input[type=range]");
    if (isRange && key.startsWith("Arrow")) return;  // its own
    // Space presses a button, unless that would change nothing.
    const pressesNothing = target.matches(".choice [aria-pressed=true]");
    if (key === " " && target.matches("button, summary") && !pressesNothing) return;
    const card = cardOfKeys();
    if (!card) return;
    event.preventDefault();
    makeCurrent(card);
    react(card);
  });

  arrange();
})();
