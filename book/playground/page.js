/* The playground's page: controls, pictures and tables around forgetting.js and rows.js. */

"use strict";

(() => {
  const F = Forgetting;
  const { network, codes, images, labels, mean, std } = F.decode(playgroundData);
  const K = codes.length;
  const DIGITS = Array.from({ length: K }, (_, c) => c);
  const WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
  const LAYER_NAMES = {
    w1: "hidden, weights", b1: "hidden, biases",
    w2: "output, weights", b2: "output, biases",
  };
  const RULE_NAMES = {
    step: "the paper’s step", turn: "the turned row",
    unseen: "the unseen row", off: "the row switched off",
  };
  const FIRST = 0; // forgotten when the page opens
  const squared = F.squaredGradients(network, codes);
  const codeBatch = F.codeBatch(codes);
  const hidden = F.forward(network, codeBatch).hidden;
  const testBatch = F.imageBatch(images, { mean, std });
  const logitsBefore = F.forward(network, testBatch).logits;

  const at = (id) => document.getElementById(`pg-${id}`);
  const root = document.getElementById("pg");
  const state = {
    forgets: DIGITS.map((c) => c === FIRST),
    rule: "step",
    exponents: playgroundData.strength.map(Math.log10), // of lambda1, lambda2
    sign: "codes",
    s: null, // a right angle
    attack: null, // {a, b, others}
    input: null, // {batch, name, pixels}
    page: 0, // which ten test images are shown
  };

  // ---- small things

  function make(tag, properties = {}, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  function meanOf(values) {
    let sum = 0;
    for (const value of values) sum += value;
    return values.length ? sum / values.length : 0;
  }

  const percent = (value, digits = 1) => `${value.toFixed(digits)}\u00a0%`;

  /** Two digits that matter, as one would write them: 0.001, 10, 3.2 × 10⁻⁵. */
  function number(value) {
    if (value === 0) return "0";
    let [digits, exponent] = value.toExponential(1).split("e");
    if (exponent >= -3 && exponent <= 5) {
      return Number(`${digits}e${exponent}`).toLocaleString("en", {
        maximumSignificantDigits: 2,
      });
    }
    const raised = String(Number(exponent)).replace(/[-\d]/g, (s) =>
      s === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[s],
    );
    digits = digits.replace(".0", "");
    return `${digits === "1" ? "" : `${digits} × `}10${raised}`;
  }

  const signed = (value, digits) => value.toFixed(digits).replace("-", "−");
  const signOf = (sign) => (sign > 0 ? "plus" : "minus");

  /** Grey pixels on a canvas; `unit` is white. */
  function paint(canvas, pixels, unit) {
    const context = canvas.getContext("2d");
    const picture = context.createImageData(canvas.width, canvas.height);
    pixels.forEach((value, i) => {
      const grey = Math.round((255 * value) / unit);
      picture.data.set([grey, grey, grey, 255], 4 * i);
    });
    context.putImageData(picture, 0, 0);
  }

  function thumb(pixels, unit) {
    const canvas = make("canvas", { width: F.SIDE, height: F.SIDE });
    canvas.setAttribute("aria-hidden", "true");
    paint(canvas, pixels, unit);
    return canvas;
  }

  /** The colours of what stays and of what goes, which follow the page's theme. */
  function readColours() {
    const probe = root.appendChild(make("span"));
    colours = ["remaining", "forgotten"].map((name) => {
      probe.style.color = `var(--pg-${name})`;
      return getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
    });
    probe.remove();
  }

  /** Colours with an opacity each: [[r, g, b], opacity] or null for nothing. */
  function paintCells(canvas, cells) {
    const context = canvas.getContext("2d");
    const picture = context.createImageData(canvas.width, canvas.height);
    cells.forEach((cell, i) => {
      if (cell) picture.data.set([...cell[0], Math.round(255 * cell[1])], 4 * i);
    });
    context.putImageData(picture, 0, 0);
  }

  // ---- tables of bars: before as an outline, after filled

  function barTable(table) {
    const body = table.tBodies[0];
    const rows = DIGITS.map((c) => {
      const bar = make("span", { className: "pg-bar" });
      const row = body.insertRow();
      row.append(
        make("th", { scope: "row", textContent: c }),
        make("td", {}, bar), make("td"), make("td"),
      );
      return { row, bar };
    });
    return (before, after) =>
      rows.forEach(({ row, bar }, c) => {
        row.classList.toggle("pg-is-forgotten", state.forgets[c]);
        bar.style.setProperty("--before", `${before[c]}%`);
        bar.style.setProperty("--after", `${after[c]}%`);
        row.cells[2].textContent = before[c].toFixed(0);
        row.cells[3].textContent = after[c].toFixed(0);
      });
  }

  const showAccuracies = barTable(at("accuracies"));
  const showAnswers = barTable(at("answers"));

  function fill(table, rows) {
    table.tBodies[0].replaceChildren(
      ...rows.map(({ cells: [head, ...cells], className = "" }) =>
        make("tr", { className },
          make("th", { scope: "row", textContent: head }),
          ...cells.map((textContent) => make("td", { textContent })),
        ),
      ),
    );
  }

  // ---- what the controls ask for

  let eta, tops, chosen, colours;

  const untouched = () => ({ a: 1, b: 0, others: false });

  function classesChanged(next = changed) {
    const started = performance.now();
    const n = state.forgets.filter(Boolean).length;
    eta = n && n < K ? F.amplitude(squared, state.forgets) : null;
    tops = eta && F.largestOf(eta);
    state.attack = untouched();
    next(started);
  }

  function byStep() {
    const [lambda1, lambda2] = state.exponents.map((e) => 10 ** e);
    const rows = F.candidates(
      network, codeBatch, eta, state.forgets, [[lambda1, lambda2]], [1, -1],
    );
    const preferred = F.best(rows).sign;
    const sign = state.sign === "codes" ? preferred : Number(state.sign);
    const scales = F.scalesOf(tops, lambda1, lambda2);
    const fresh = F.moved(network, eta, scales, sign);
    return { fresh, rows, preferred, sign, scales, lambda1, lambda2 };
  }

  function byRows() {
    const found = Rows.replaced(network, hidden, state.forgets, state.rule, state.s);
    return { fresh: found.network, s: found.s };
  }

  function changed(started = performance.now()) {
    const step = eta && (state.rule === "step" ? byStep() : byRows());
    const fresh = step ? step.fresh : network;
    chosen = { fresh, step, logits: F.forward(fresh, testBatch).logits };
    showRule(step);
    showWeights();
    attacked(started);
  }

  /** Nothing but the attacker has changed: the network stays. */
  function attacked(started = performance.now(), news = "") {
    const logits = Rows.attacked(chosen.logits, state.forgets, state.attack);
    chosen.scores = showScores(logits);
    showAttacker(news);
    say(showInput(), news);
    showFacts(performance.now() - started);
  }

  function choose(started = performance.now()) {
    if (!eta) return changed(started);
    const signs = state.sign === "codes" ? [1, -1] : [Number(state.sign)];
    const { lambda1, lambda2 } = F.best(
      F.candidates(network, codeBatch, eta, state.forgets, F.GRID, signs),
    );
    state.exponents = [lambda1, lambda2].map((v) => Math.round(Math.log10(v)));
    changed(started);
  }

  /** The b that brings most back, at this a; b stays where none brings anything back. */
  function find() {
    const started = performance.now();
    let news = "";
    const scoresOf = (logits) => F.evaluate(logits, labels, state.forgets);
    const logitsAt = (b) =>
      Rows.attacked(chosen.logits, state.forgets, { ...state.attack, b });
    if (eta) {
      const kept = [logitsBefore, chosen.logits].map((z) => scoresOf(z).remainingAccuracy);
      const b = Rows.bestShift(logitsAt(0), labels, state.forgets, Math.min(...kept) - 2);
      if (scoresOf(logitsAt(b)).forgettingError < 100) state.attack.b = b;
      else news = "No b brings any of the images back. ";
    }
    attacked(started, news);
  }

  // ---- what is shown

  /** A slider keeps what fits on it; the text beside it is exact. */
  function showSlider(id, value, text) {
    at(id).value = value;
    at(id).setAttribute("aria-valuetext", text);
    at(`${id}-value`).textContent = text;
  }

  function showRule(step) {
    for (const part of root.querySelectorAll("[data-rule]")) {
      part.hidden = part.dataset.rule !== state.rule;
    }
    state.exponents.forEach((e, i) => showSlider(`lambda${i + 1}`, e, number(10 ** e)));
    if (state.rule === "step") showSigns(step);
    const s = step?.s ?? state.s ?? 1;
    showSlider("s", s, s.toFixed(2));
  }

  function showAttacker(news) {
    const { a, b, others } = state.attack;
    showSlider("a", a, signed(a, 2));
    showSlider("b", b, signed(b, 1));
    at("rest").checked = others;
    const { forgettingError, remainingAccuracy } = chosen.scores;
    at("back").replaceChildren(
      ...(eta
        ? [
            news,
            make("b", { textContent: percent(100 - forgettingError, 0) }),
            ` of the forgotten images are recognised, at a remaining accuracy of ` +
              `${percent(remainingAccuracy)}.`,
          ]
        : []),
    );
  }

  function showSigns(step) {
    fill(
      at("codes"),
      [-1, 1].map((sign) => {
        if (!step) return { cells: [signOf(sign), "–", "–", "–"] };
        const row = step.rows.find((r) => r.sign === sign);
        const mark = step.preferred === sign ? " ✓" : "";
        return {
          className: step.sign === sign ? "pg-taken" : "",
          cells: [
            signOf(sign) + mark, row.remainingAccuracy.toFixed(0),
            row.forgettingError.toFixed(0), row.depth.toFixed(1),
          ],
        };
      }),
    );
  }

  function showScores(logits) {
    const before = F.evaluate(logitsBefore, labels, state.forgets);
    const after = F.evaluate(logits, labels, state.forgets);
    for (const [id, key] of [["ar", "remainingAccuracy"], ["ef", "forgettingError"]]) {
      const none = Number.isNaN(after[key]);
      at(id).textContent = none ? "–" : percent(after[key]);
      at(`${id}-before`).textContent = none ? "" : ` before: ${percent(before[key])}`;
    }
    showAccuracies(before.classes, after.classes);
    showDestinations(after.answers);
    return after;
  }

  /** What the images of the forget classes are read as. */
  function showDestinations(answers) {
    const counts = new Array(K).fill(0);
    labels.forEach((label, i) => {
      if (state.forgets[label]) counts[answers[i]] += 1;
    });
    const all = counts.reduce((a, b) => a + b, 0);
    const named = DIGITS.filter((c) => counts[c])
      .sort((a, b) => counts[b] - counts[a])
      .map((c) => `${c} (${percent((100 * counts[c]) / all, 0)})`);
    const rest = named.splice(4).length ? ", others" : "";
    at("destinations").textContent = named.length
      ? `Images of the forget classes are now classified as ${named.join(", ")}${rest}.`
      : "";
  }

  function showInput() {
    const { batch, name, pixels, unit } = state.input;
    const fresh = F.forward(chosen.fresh, batch).logits;
    const [before, after] = [
      F.forward(network, batch).logits,
      Rows.attacked(fresh, state.forgets, state.attack),
    ].map(F.softmax);
    showAnswers(...[before, after].map((p) => p.map((v) => 100 * v)));
    paint(at("seen"), pixels, unit);
    at("seen").setAttribute("aria-label", `What the network sees: ${name}.`);
    const top = (p) => p.indexOf(Math.max(...p));
    return { name, before: top(before), after: top(after), sure: after[top(after)] };
  }

  function showWeights() {
    const { fresh, step } = chosen;
    const steps = F.stepsOf(network, fresh);
    const units = network.b1.length;
    const most = F.largestOf(steps);
    const opacity = (value) => // a bias may move much further than the weights
      value > 0 ? Math.min(1, Math.max(0, 1 + Math.log10(value / most.w2) / 4)) : 0;
    const cells = DIGITS.flatMap((c) => {
      const side = colours[Number(state.forgets[c])];
      const row = Array.from(steps.w2.subarray(c * units, (c + 1) * units), (v) => [
        side, opacity(v),
      ]);
      return [...row, null, [side, opacity(steps.b2[c])]];
    });
    paintCells(at("output-map"), cells);
    const pixels = Array.from({ length: F.PIXELS }, (_, p) =>
      meanOf(steps.w1.subarray(p * units, (p + 1) * units)),
    );
    const brightest = Math.max(...pixels);
    paintCells(
      at("pixel-map"),
      Array.from(pixels, (v) => [colours[1], brightest > 0 ? v / brightest : 0]),
    );
    Array.from(at("rows").children).forEach((item, c) =>
      item.classList.toggle("pg-is-forgotten", state.forgets[c]),
    );
    const rows = DIGITS.map((c) => meanOf(steps.w2.subarray(c * units, (c + 1) * units)));
    const means = [true, false].map((side) =>
      meanOf(rows.filter((_, c) => state.forgets[c] === side)),
    );
    at("output-map").setAttribute(
      "aria-label",
      "Map of the steps of the output layer. Mean step in the rows of the forget " +
        `classes: ${number(means[0])}; in the other rows: ${number(means[1])}.`,
    );
    at("pixel-map").setAttribute(
      "aria-label",
      "Map of the mean step of the hidden weights at each of 28 by 28 pixels, largest " +
        number(brightest) + (brightest ? ". It looks like noise, as the codes do." : "."),
    );
    fill(
      at("layers"),
      F.LAYERS.map((name) => {
        const scale = step?.scales?.[name];
        const cap = scale ? (scale === step.lambda1 ? "λ₁" : "λ₂") : "–";
        return {
          cells: [
            LAYER_NAMES[name], scale ? number(scale) : "–", cap, number(most[name]), number(meanOf(steps[name])),
          ],
        };
      }),
    );
  }

  let telling;

  /** A few words for everyone, read out when the reader's hand has come to rest. */
  function say({ name, before, after, sure }, news = "") {
    const { step, scores } = chosen;
    const { a, b, others } = state.attack;
    const list = DIGITS.filter((c) => state.forgets[c]).join(", ");
    const how =
      state.rule === "step" ? `, sign ${signOf(step?.sign)}`
      : state.rule === "turn" ? `, s ${step?.s.toFixed(2)}` : "";
    const against =
      a === 1 && b === 0 && !others ? ""
      : ` Attacker with a ${signed(a, 2)} and b ${signed(b, 1)}` +
        `${others ? ", from the other logits" : ""}: ` +
        `${percent(100 - scores.forgettingError, 0)} are back.`;
    const text = step
      ? `${news}Forgetting ${list} by ${RULE_NAMES[state.rule]}${how}.${against} Remaining accuracy ` +
        `${percent(scores.remainingAccuracy)}, forgetting error ` +
        `${percent(scores.forgettingError)}. ` +
        `${name[0].toUpperCase()}${name.slice(1)}: classified as ${before} before, as ` +
        `${after} now (${percent(100 * sure, 0)}).`
      : "Nothing moves: choose at least one class to forget, and leave at least one.";
    clearTimeout(telling);
    telling = setTimeout(() => {
      at("status").textContent = text;
    }, 250);
  }

  let shown = 0; // the first time, nothing has been changed

  function showFacts(milliseconds) {
    const took = shown++ ? ` The last change took your browser ${milliseconds.toFixed(0)} ms.` : "";
    const { profile, data, epochs, tMix } = playgroundData;
    const smoke = profile === "smoke" ? " These numbers mean nothing: it is for tests." : "";
    at("facts").dataset.milliseconds = milliseconds;
    at("facts").textContent =
      `Network 784-${network.b1.length}-${K}, trained on ${data} for ${epochs} epochs, ` +
      `t_mix ${tMix}, seed 0; profile ${profile}.${smoke}${took}`;
  }

  // ---- inputs

  function take(batch, name, pixels, unit) {
    state.input = { batch, name, pixels, unit };
    if (chosen) say(showInput());
  }

  function takeImage(i) {
    const batch = F.imageBatch([images[i]], { mean, std });
    take(batch, `test image ${i + 1}, a ${WORDS[labels[i]]}`, images[i], 255);
  }

  function takeCode(c) {
    take(F.codeBatch([codes[c]]), `the code of ${c}`, codes[c], 1);
  }

  function radioThumb(name, pixels, unit, text, onTake) {
    const radio = make("input", { type: "radio", name: "pg-input" });
    radio.setAttribute("aria-label", text);
    radio.addEventListener("change", () => {
      clearPad();
      onTake();
    });
    return make("label", { className: name }, radio, thumb(pixels, unit));
  }

  const ofClass = DIGITS.map((c) => [...labels.keys()].filter((i) => labels[i] === c));

  function showTen() {
    at("images").replaceChildren(
      ...ofClass.map((those, c) => {
        const i = those[state.page % those.length];
        const text = `test image ${i + 1}, a ${WORDS[c]}`;
        return radioThumb("pg-thumb", images[i], 255, text, () => takeImage(i));
      }),
    );
  }

  // ---- drawing

  const pad = at("pad");
  const ink = pad.getContext("2d", { willReadFrequently: true });
  let last = null;

  function clearPad() {
    ink.clearRect(0, 0, pad.width, pad.height);
    at("hint").hidden = false;
  }

  function whereOn({ clientX, clientY }) {
    const box = pad.getBoundingClientRect();
    return [
      ((clientX - box.left) * pad.width) / box.width,
      ((clientY - box.top) * pad.height) / box.height,
    ];
  }

  function stroke(event) {
    const here = whereOn(event);
    Object.assign(ink, { lineWidth: 24, lineCap: "round", lineJoin: "round" });
    ink.strokeStyle = "white";
    ink.beginPath();
    ink.moveTo(...last);
    ink.lineTo(...here);
    ink.stroke();
    last = here;
    const { data } = ink.getImageData(0, 0, pad.width, pad.height);
    const alpha = Uint8Array.from({ length: pad.width * pad.height }, (_, i) => data[4 * i + 3]);
    const image = F.centred(alpha, pad.width);
    take(F.imageBatch([image], { mean, std }), "your drawing", image, 255);
  }

  pad.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button) return;
    event.preventDefault();
    pad.setPointerCapture(event.pointerId);
    at("hint").hidden = true;
    for (const radio of root.elements["pg-input"]) radio.checked = false;
    last = whereOn(event);
    stroke(event);
  });
  pad.addEventListener("pointermove", (event) => last && stroke(event));
  for (const end of ["pointerup", "pointercancel"]) {
    pad.addEventListener(end, () => {
      last = null;
    });
  }
  at("clear").addEventListener("click", () => {
    clearPad();
    at("images").querySelector("input").click();
  });

  // ---- controls

  let waiting = false;

  /** Once a frame is enough, however fast a slider moves. */
  function soon(task) {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      task();
    });
  }

  at("classes").append(
    ...DIGITS.map((c) => {
      const box = make("input", { type: "checkbox", checked: state.forgets[c], value: c });
      box.setAttribute("aria-label", `forget ${c}`);
      box.addEventListener("change", () => {
        state.forgets[c] = box.checked;
        classesChanged();
      });
      return make("label", { className: "pg-chip" }, box,
        make("b", { textContent: c }), thumb(codes[c], 1));
    }),
  );
  ["lambda1", "lambda2"].forEach((id, i) =>
    at(id).addEventListener("input", () => {
      state.exponents[i] = Number(at(id).value);
      soon(changed);
    }),
  );
  for (const radio of root.elements["pg-sign"]) {
    radio.addEventListener("change", () => {
      state.sign = radio.value;
      changed();
    });
  }
  for (const radio of root.elements["pg-rule"]) {
    radio.addEventListener("change", () => {
      state.rule = radio.value;
      state.attack = untouched();
      changed();
    });
  }
  at("s").addEventListener("input", () => {
    state.s = Number(at("s").value);
    soon(changed);
  });
  at("right").addEventListener("click", () => {
    state.s = null;
    changed();
  });
  for (const name of ["a", "b"]) {
    at(name).addEventListener("input", () => {
      state.attack[name] = Number(at(name).value);
      soon(attacked);
    });
  }
  at("rest").addEventListener("change", () => {
    state.attack.others = at("rest").checked;
    attacked();
  });
  at("find").addEventListener("click", find);
  at("undo").addEventListener("click", () => {
    state.attack = untouched();
    attacked();
  });
  at("choose").addEventListener("click", () => choose());
  at("paper").addEventListener("click", () => {
    state.exponents = playgroundData.strength.map(Math.log10);
    changed();
  });
  at("others").addEventListener("click", () => {
    const taken = [...root.elements["pg-input"]].findIndex((r) => r.checked);
    state.page += 1;
    showTen();
    at("images").querySelectorAll("input")[taken >= 0 && taken < K ? taken : FIRST].click();
  });
  root.addEventListener("submit", (event) => event.preventDefault());
  new MutationObserver(() => {
    readColours();
    showWeights();
  }).observe(document.documentElement, { attributeFilter: ["data-theme"] });

  at("rows").append(...DIGITS.map((c) => make("li", { textContent: c })));
  at("code-images").append(
    ...codes.map((code, c) =>
      radioThumb("pg-thumb", code, 1, `the code of ${c}`, () => takeCode(c)),
    ),
  );
  showTen();
  at("wait").hidden = true;
  root.hidden = false;
  readColours();
  at("images").querySelectorAll("input")[FIRST].checked = true;
  takeImage(ofClass[FIRST][0]);
  classesChanged(choose);
})();
