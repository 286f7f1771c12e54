"use strict";
(() => {
  const SIGNS = JSON.parse(document.getElementById("signs").textContent), BEHIND = 0.18;
  const LOOK = { data: { colour: "#8a8a8a", radius: 1.1 }, nu: { colour: "#007a5e" }, teacher: { radius: 7, ring: true } };
  const LAYERS = { data: 1, nu: 2, teacher: 3 };  // others, such as neurons, lie below: they are few and large
  const unpack = (text, Type) => new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

  // From white through yellow and green to dark blue: lightness alone tells it too.
  const STOPS = [[255, 255, 255], [237, 232, 161], [122, 198, 165], [42, 129, 160], [37, 52, 110]];
  const SHADES = Array.from({ length: 256 }, (_, i) => {
    const at = Math.sqrt(i / 255) * (STOPS.length - 1), k = Math.min(Math.floor(at), STOPS.length - 2), t = at - k;
    return STOPS[k].map((low, c) => Math.round(low + t * (STOPS[k + 1][c] - low)));
  });

  function fitted(canvas, most = Infinity) {
    const ratio = window.devicePixelRatio || 1, side = Math.max(1, Math.min(most, Math.round(canvas.clientWidth * ratio)));
    if (canvas.width !== side || canvas.height !== side) { canvas.width = side; canvas.height = side; }
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, side, side);
    return { pen, side, ratio };
  }

  // Rows of a rotation: right, up, towards the eye.
  function rotation(lon, lat) {
    const [c, s, k, t] = [Math.cos(lon), Math.sin(lon), Math.cos(lat), Math.sin(lat)];
    return [[-s, c, 0], [-t * c, -t * s, k], [k * c, k * s, t]];
  }

  // A globe's value between its cells: columns go round, and beyond the last row lies the pole, with the row's mean.
  function between(values, d, row, column, poles) {
    const beyond = Math.max(-row, row - d.rows + 1);
    if (beyond > 0) {
      const edge = between(values, d, row < 0 ? 0 : d.rows - 1, column, poles), pole = poles[row < 0 ? 0 : 1];
      return edge + Math.min(1, 2 * beyond) * (pole - edge);
    }
    const clip = (k) => Math.max(0, Math.min(d.rows - 1, k)), turn = (k) => (k + d.columns) % d.columns;
    const r = Math.floor(row), c = Math.floor(column), t = row - r, u = column - c;
    const low = clip(r) * d.columns, high = clip(r + 1) * d.columns, left = turn(c), next = turn(c + 1);
    return (1 - t) * ((1 - u) * values[low + left] + u * values[low + next]) + t * ((1 - u) * values[high + left] + u * values[high + next]);
  }

  // Where a flat picture lies in its canvas, beside the labels of its axes.
  const inner = (side, ratio) => ({ left: 44 * ratio, top: 6 * ratio, size: side - 50 * ratio });

  // Round numbers in [low, high], about four of them.
  function ticks(low, high) {
    const rough = (high - low) / 4, unit = 10 ** Math.floor(Math.log10(rough)), step = unit * [1, 2, 5, 10].find((k) => k * unit >= rough);
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(Number((k * step).toPrecision(6)));
    return found;
  }

  class View {
    constructor(root, view, redraw) {
      Object.assign(this, { root, kind: view.kind, redraw, lon: 0.6, lat: 0.35, window: view.window });
      this.extent = view.extent;
      this.measures = view.measures.map((measure) => ({
        ...measure, points: unpack(measure.points, Int16Array), weights: measure.weights && unpack(measure.weights, Int8Array), shown: true,
      }));
      this.layers = [...this.measures].sort((a, b) => (LAYERS[a.name] || 0) - (LAYERS[b.name] || 0));
      this.density = view.densities && {
        ...view.densities, student: unpack(view.densities.student, Uint8Array),
        teacher: view.densities.teacher && unpack(view.densities.teacher, Uint8Array),
      };
      this.canvas = root.querySelector("canvas.points");
      this.densities = [...root.querySelectorAll("canvas.density")];
      for (const box of root.querySelectorAll("input.show")) {
        box.addEventListener("change", () => { this.measures[box.dataset.measure].shown = box.checked; redraw(); });
      }
      this.outside = root.querySelector(".outside");
      for (const key of root.querySelectorAll(".key")) key.style.background = this.key(this.measures.find((m) => m.name === key.dataset.key));
      this.aim();
      if (this.kind === "globe") this.turnable();
    }

    // The globe first shows the side where the teacher, or else what moves, has most of its mass.
    aim() {
      const which = this.measures.find((m) => m.name === "data") || this.measures[0];
      const mean = [0, 0, 0];
      for (let i = 0; i < which.count; i++) for (let c = 0; c < which.width; c++) mean[c] += which.points[i * which.width + c];
      if (this.kind === "globe" && Math.hypot(...mean) > 0) {
        this.lon = Math.atan2(mean[1], mean[0]) + 0.3;
        this.lat = Math.max(-1.2, Math.min(1.2, Math.asin(mean[2] / Math.hypot(...mean)) + 0.2));
      }
    }

    colour(name, sign) {
      return (LOOK[name] || {}).colour || (sign < 0 ? SIGNS.negative : SIGNS.positive);
    }

    // The colour that stands for a measure, or both colours of its signs.
    key(m) {
      const signs = m.even ? [m.positive ? 1 : -1] : [m.weights.some((w) => w > 0) && 1, m.weights.some((w) => w < 0) && -1].filter(Boolean);
      const colours = [...signs, 1].map((sign) => this.colour(m.name, sign));
      return signs.length > 1 ? `linear-gradient(90deg, ${colours[0]} 50%, ${colours[1]} 50%)` : colours[0];
    }

    turnable() {
      const turn = (right, up) => {
        this.lon -= right; this.lat = Math.max(-1.55, Math.min(1.55, this.lat + up)); this.redraw();
      };
      for (const canvas of [this.canvas, ...this.densities]) {
        let from = null;
        canvas.addEventListener("pointerdown", (e) => { from = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
        canvas.addEventListener("pointerup", () => { from = null; });
        canvas.addEventListener("pointermove", (e) => {
          if (!from) return;
          turn((e.clientX - from[0]) / 160, (e.clientY - from[1]) / 160);
          from = [e.clientX, e.clientY];
        });
      }
      const keys = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
      this.canvas.addEventListener("keydown", (e) => { if (keys[e.key]) { turn(...keys[e.key]); e.preventDefault(); } });
    }

    // Pixel and depth (1 near, -1 far) of a point given in units of the extent.
    placer(side, ratio) {
      if (this.window) {
        const [l, r, b, t] = this.window, { left, top, size } = inner(side, ratio), extent = this.extent;
        return (x, y) => [left + (x * extent - l) / (r - l) * size, top + (t - y * extent) / (t - b) * size, 1];
      }
      const middle = side / 2, reach = side * 0.46 * this.extent / Math.max(1, this.extent);
      if (this.kind !== "globe") return (x, y) => [middle + x * reach, middle - y * reach, 1];
      const [right, up, near] = rotation(this.lon, this.lat);
      const dot = (row, x, y, z) => row[0] * x + row[1] * y + row[2] * z;
      return (x, y, z) => [middle + dot(right, x, y, z) * reach, middle - dot(up, x, y, z) * reach, dot(near, x, y, z)];
    }

    draw(frame) {
      const { pen, side, ratio } = fitted(this.canvas), place = this.placer(side, ratio), seen = { sum: 0, outside: 0 };
      pen.save();
      if (this.window) {
        const { left, top, size } = inner(side, ratio);
        pen.beginPath(); pen.rect(left, top, size, size); pen.clip();
      }
      for (const m of this.layers) if (m.shown) this.dots(pen, m, m.moves ? frame : 0, place, ratio, seen, side);
      pen.restore();
      this.frame_of(pen, side, ratio, side * 0.46 / Math.max(1, this.extent));
      this.canvas.dataset.drawn = `${frame}:${Math.round(seen.sum)}`;
      this.outside.textContent = seen.outside ? `; ${seen.outside.toLocaleString("en")} atoms lie outside` : "";
      for (const canvas of this.densities) this.shade(canvas, frame);
    }

    // The globe's or the circle's edge, or a box with the labels of its axes.
    frame_of(pen, side, ratio, radius) {
      pen.strokeStyle = "#8a8a8a"; pen.lineWidth = ratio;
      if (!this.window) { pen.beginPath(); pen.arc(side / 2, side / 2, radius, 0, 7); pen.stroke(); return; }
      const [l, r, b, t] = this.window, { left, top, size } = inner(side, ratio), mark = 4 * ratio;
      pen.strokeRect(left, top, size, size);
      pen.fillStyle = "#1a1a1a"; pen.font = `${12 * ratio}px system-ui, sans-serif`;
      pen.textAlign = "center"; pen.textBaseline = "top";
      for (const value of ticks(l, r)) {
        const x = left + (value - l) / (r - l) * size;
        pen.strokeRect(x, top + size, 0, mark); pen.fillText(String(value), x, top + size + 1.5 * mark);
      }
      pen.textAlign = "right"; pen.textBaseline = "middle";
      for (const value of ticks(b, t)) {
        const y = top + (t - value) / (t - b) * size;
        pen.strokeRect(left - mark, y, mark, 0); pen.fillText(String(value), left - 1.5 * mark, y);
      }
    }

    dots(pen, m, frame, place, ratio, seen, side) {
      const look = LOOK[m.name] || {}, start = frame * m.count, { left, top, size } = inner(side, ratio);
      for (let i = 0; i < m.count; i++) {
        const at = (start + i) * m.width, w = m.even ? (m.positive ? 1 : -1) : m.weights[start + i] / 127;
        if (!w) continue;
        const [x, y, depth] = place(m.points[at] / 32767, m.points[at + 1] / 32767, m.width > 2 ? m.points[at + 2] / 32767 : 0);
        if (this.window && (x < left || x > left + size || y < top || y > top + size)) { seen.outside++; continue; }
        const radius = ratio * (look.radius || (m.even && m.count > 200 ? 1.4 : Math.max(1.5, 8 * Math.sqrt(Math.abs(w)))));
        pen.globalAlpha = depth < 0 ? BEHIND : (m.even || look.radius ? 0.75 : 0.6);
        pen.fillStyle = pen.strokeStyle = this.colour(m.name, w);
        pen.beginPath();
        pen.arc(x, y, radius, 0, 6.2832);
        if (look.ring) { pen.lineWidth = 2.5 * ratio; pen.stroke(); } else pen.fill();
        seen.sum += x + y;
      }
      pen.globalAlpha = 1;
    }

    shade(canvas, frame) {
      const { pen, side, ratio } = fitted(canvas, this.kind === "globe" ? 400 : Infinity);
      const d = this.density, cells = d.rows * d.columns, last = d.student.length / cells - 1;
      const start = Math.min(frame, last) * cells;
      const values = canvas.dataset.which === "student" ? d.student.subarray(start, start + cells) : d.teacher;
      ({ globe: this.sphere, circle: this.ring })[this.kind]?.call(this, pen, side, ratio, values);
      if (this.window) this.flat(pen, side, ratio, values);
    }

    flat(pen, side, ratio, values) {
      const { rows, columns } = this.density, cells = document.createElement("canvas"), { left, top, size } = inner(side, ratio);
      cells.width = columns; cells.height = rows;
      const small = cells.getContext("2d"), image = small.createImageData(columns, rows);
      values.forEach((value, at) => {
        const row = rows - 1 - Math.floor(at / columns);  // upwards
        image.data.set([...SHADES[value], 255], 4 * (row * columns + at % columns));
      });
      small.putImageData(image, 0, 0);
      pen.drawImage(cells, left, top, size, size);
      this.frame_of(pen, side, ratio);
    }

    sphere(pen, side, ratio, values) {
      const d = this.density, image = pen.createImageData(side, side), radius = side * 0.46;
      const [right, up, near] = rotation(this.lon, this.lat);
      const mean = (row) => values.subarray(row * d.columns, (row + 1) * d.columns).reduce((a, b) => a + b, 0) / d.columns;
      const poles = [mean(0), mean(d.rows - 1)];
      for (let j = 0, at = 0; j < side; j++) {
        for (let i = 0; i < side; i++, at += 4) {
          const a = (i + 0.5 - side / 2) / radius, b = (side / 2 - j - 0.5) / radius, c2 = 1 - a * a - b * b;
          if (c2 < 0) continue;
          const c = Math.sqrt(c2), x = a * right[0] + b * up[0] + c * near[0], y = a * right[1] + b * up[1] + c * near[1];
          const row = (a * right[2] + b * up[2] + c * near[2] + 1) / 2 * d.rows - 0.5;
          const column = (Math.atan2(y, x) / Math.PI + 1) / 2 * d.columns - 0.5;
          image.data.set([...SHADES[Math.round(between(values, d, row, column, poles))], 255], at);
        }
      }
      pen.putImageData(image, 0, 0);
      this.frame_of(pen, side, 1, radius);
    }

    // On S^1 the density is the height over the circle.
    ring(pen, side, ratio, values) {
      const base = side * 0.22, high = side * 0.25;
      this.frame_of(pen, side, ratio, base);
      pen.strokeStyle = "#1a1a1a"; pen.lineWidth = 2 * ratio; pen.beginPath();
      for (let i = 0; i <= values.length; i++) {
        const angle = ((i % values.length) + 0.5) / values.length * 2 * Math.PI - Math.PI, r = base + high * values[i % values.length] / 255;
        pen.lineTo(side / 2 + r * Math.cos(angle), side / 2 - r * Math.sin(angle));
      }
      pen.stroke();
    }
  }

  const every = [], together = document.getElementById("together");
  const nearest = (steps, step) => steps.reduce((best, at, i) => (Math.abs(at - step) < Math.abs(steps[best] - step) ? i : best), 0);

  function replay(root, data) {
    const slider = root.querySelector(".slider"), play = root.querySelector(".play"), said = root.querySelector(".clock");
    let waiting = false, timer = null;
    const views = [], me = { steps: data.steps, go: (step) => { slider.value = nearest(data.steps, step); redraw(); } };
    const changed = () => { redraw(); if (!together || together.checked) for (const other of every) if (other !== me) other.go(data.steps[slider.value]); };
    const draw = () => {
      waiting = false;
      const frame = Number(slider.value);
      said.textContent = `step ${data.steps[frame].toLocaleString("en")}, time ${data.times[frame].toPrecision(4)}`;
      slider.setAttribute("aria-valuetext", said.textContent);
      for (const view of views) view.draw(frame);
    };
    const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };
    const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; play.setAttribute("aria-pressed", "false"); };
    for (const place of root.querySelectorAll(".view")) views.push(new View(place, data.views[place.dataset.view], redraw));
    slider.addEventListener("input", changed);
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (slider.value === slider.max) slider.value = 0;
      play.textContent = "Pause"; play.setAttribute("aria-pressed", "true");
      timer = setInterval(() => { slider.value = Number(slider.value) + 1; changed(); if (slider.value === slider.max) stop(); }, 120);
    });
    window.addEventListener("resize", redraw);
    every.push(me);
    redraw();
  }

  const shade = (i) => `rgb(${SHADES[Math.round(i * 255 / 16)].join()})`;
  const gradient = `linear-gradient(90deg, ${Array.from({ length: 17 }, (_, i) => shade(i)).join()})`;
  for (const bar of document.querySelectorAll(".bar")) bar.style.background = gradient;
  const replays = JSON.parse(document.getElementById("replays").textContent);
  for (const root of document.querySelectorAll(".replay")) if (replays[root.dataset.replay]) replay(root, replays[root.dataset.replay]);
})();
