"use strict";
(() => {
  const POSITIVE = "#0072b2", NEGATIVE = "#d55e00", BEHIND = 0.18;
  const LOOK = { data: { colour: "#9a9a9a", radius: 1.1 }, teacher: { colour: "#000000", radius: 7, ring: true } };
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

  // A mesh's value between its cells; on a globe columns go round, and beyond the last row lies the pole, with the row's mean.
  function between(values, d, row, column, round, poles) {
    const beyond = round ? Math.max(-row, row - d.rows + 1) : 0;
    if (beyond > 0) {
      const edge = between(values, d, row < 0 ? 0 : d.rows - 1, column, round, poles), pole = poles[row < 0 ? 0 : 1];
      return edge + Math.min(1, 2 * beyond) * (pole - edge);
    }
    const clip = (k, n) => Math.max(0, Math.min(n - 1, k)), turn = (k) => round ? (k + d.columns) % d.columns : clip(k, d.columns);
    const r = Math.floor(row), c = Math.floor(column), t = row - r, u = column - c;
    const low = clip(r, d.rows) * d.columns, high = clip(r + 1, d.rows) * d.columns, left = turn(c), next = turn(c + 1);
    return (1 - t) * ((1 - u) * values[low + left] + u * values[low + next]) + t * ((1 - u) * values[high + left] + u * values[high + next]);
  }

  class View {
    constructor(root, view, redraw) {
      Object.assign(this, { root, kind: view.kind, redraw, lon: 0.6, lat: 0.35 });
      this.extent = view.extent;
      this.measures = view.measures.map((measure) => ({
        ...measure, points: unpack(measure.points, Int16Array), weights: measure.weights && unpack(measure.weights, Int8Array), shown: true,
      }));
      this.density = view.densities && {
        ...view.densities, student: unpack(view.densities.student, Uint8Array),
        teacher: view.densities.teacher && unpack(view.densities.teacher, Uint8Array),
      };
      this.canvas = root.querySelector("canvas.points");
      this.densities = [...root.querySelectorAll("canvas.density")];
      for (const box of root.querySelectorAll("input.show")) {
        box.addEventListener("change", () => { this.measures[box.dataset.measure].shown = box.checked; redraw(); });
      }
      for (const key of root.querySelectorAll(".key")) key.style.background = this.colour(key.dataset.key, 1);
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
      if (LOOK[name]) return LOOK[name].colour;
      if (name === "nu") return "#007a5e";
      return sign < 0 ? NEGATIVE : POSITIVE;
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

    // Pixel and depth (1 near, -1 far) of a point.
    placer(side, reach) {
      const middle = side / 2;
      if (this.kind !== "globe") return (x, y) => [middle + x * reach, middle - y * reach, 1];
      const [right, up, near] = rotation(this.lon, this.lat);
      const dot = (row, x, y, z) => row[0] * x + row[1] * y + row[2] * z;
      return (x, y, z) => [middle + dot(right, x, y, z) * reach, middle - dot(up, x, y, z) * reach, dot(near, x, y, z)];
    }

    draw(frame) {
      const { pen, side, ratio } = fitted(this.canvas);
      const round = this.kind === "globe" || this.kind === "circle";
      const reach = side * (round ? 0.46 / Math.max(1, this.extent) : 0.47) * (round ? this.extent : 1);
      this.frame_of(pen, side, round ? side * 0.46 / Math.max(1, this.extent) : 0, ratio);
      const place = this.placer(side, reach);
      let moved = 0;
      for (const m of this.measures) if (m.shown) moved += this.dots(pen, m, m.moves ? frame : 0, place, ratio);
      this.canvas.dataset.drawn = `${frame}:${Math.round(moved)}`;
      for (const canvas of this.densities) this.shade(canvas, frame);
    }

    frame_of(pen, side, radius, ratio) {
      pen.strokeStyle = "#8a8a8a"; pen.lineWidth = ratio;
      if (radius) { pen.beginPath(); pen.arc(side / 2, side / 2, radius, 0, 7); pen.stroke(); } else pen.strokeRect(1, 1, side - 2, side - 2);
    }

    dots(pen, m, frame, place, ratio) {
      const look = LOOK[m.name] || {}, start = frame * m.count;
      let sum = 0;
      for (let i = 0; i < m.count; i++) {
        const at = (start + i) * m.width, w = m.even ? (m.positive ? 1 : -1) : m.weights[start + i] / 127;
        if (!w) continue;
        const [x, y, depth] = place(m.points[at] / 32767, m.points[at + 1] / 32767, m.width > 2 ? m.points[at + 2] / 32767 : 0);
        const radius = ratio * (look.radius || (m.even && m.count > 200 ? 1.4 : Math.max(1.5, 9 * Math.sqrt(Math.abs(w)))));
        pen.globalAlpha = depth < 0 ? BEHIND : (m.even || look.radius ? 0.75 : 0.85);
        pen.fillStyle = pen.strokeStyle = this.colour(m.name, w);
        pen.beginPath();
        pen.arc(x, y, radius, 0, 6.2832);
        if (look.ring) { pen.lineWidth = 2.5 * ratio; pen.stroke(); } else pen.fill();
        sum += x + y;
      }
      pen.globalAlpha = 1;
      return sum;
    }

    shade(canvas, frame) {
      const round = this.kind === "circle", { pen, side, ratio } = fitted(canvas, round ? Infinity : 400);
      const d = this.density, cells = d.rows * d.columns, last = d.student.length / cells - 1;
      const start = Math.min(frame, last) * cells;
      const values = canvas.dataset.which === "student" ? d.student.subarray(start, start + cells) : d.teacher;
      if (round) return this.ring(pen, side, ratio, values);
      const image = pen.createImageData(side, side), globe = this.kind === "globe", radius = side * 0.46;
      const [right, up, near] = rotation(this.lon, this.lat);
      const mean = (row) => values.subarray(row * d.columns, (row + 1) * d.columns).reduce((a, b) => a + b, 0) / d.columns;
      const poles = [mean(0), mean(d.rows - 1)];
      for (let j = 0, at = 0; j < side; j++) {
        for (let i = 0; i < side; i++, at += 4) {
          let row = (1 - (j + 0.5) / side) * d.rows - 0.5, column = (i + 0.5) / side * d.columns - 0.5;
          if (globe) {
            const a = (i + 0.5 - side / 2) / radius, b = (side / 2 - j - 0.5) / radius, c2 = 1 - a * a - b * b;
            if (c2 < 0) continue;
            const c = Math.sqrt(c2), x = a * right[0] + b * up[0] + c * near[0], y = a * right[1] + b * up[1] + c * near[1];
            row = (a * right[2] + b * up[2] + c * near[2] + 1) / 2 * d.rows - 0.5;
            column = (Math.atan2(y, x) / Math.PI + 1) / 2 * d.columns - 0.5;
          }
          const shade = SHADES[Math.round(between(values, d, row, column, globe, poles))];
          image.data[at] = shade[0]; image.data[at + 1] = shade[1]; image.data[at + 2] = shade[2]; image.data[at + 3] = 255;
        }
      }
      pen.putImageData(image, 0, 0);
      this.frame_of(pen, side, globe ? radius : 0, side / canvas.clientWidth);
    }

    // On S^1 the density is the height over the circle.
    ring(pen, side, ratio, values) {
      const inner = side * 0.22, high = side * 0.25;
      this.frame_of(pen, side, inner, ratio);
      pen.strokeStyle = POSITIVE; pen.lineWidth = 2 * ratio; pen.beginPath();
      for (let i = 0; i <= values.length; i++) {
        const angle = ((i % values.length) + 0.5) / values.length * 2 * Math.PI - Math.PI, r = inner + high * values[i % values.length] / 255;
        pen.lineTo(side / 2 + r * Math.cos(angle), side / 2 - r * Math.sin(angle));
      }
      pen.stroke();
    }
  }

  function replay(root, data) {
    const slider = root.querySelector(".slider"), play = root.querySelector(".play"), said = root.querySelector(".clock");
    let waiting = false, timer = null;
    const views = [];
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
    slider.addEventListener("input", redraw);
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (slider.value === slider.max) slider.value = 0;
      play.textContent = "Pause"; play.setAttribute("aria-pressed", "true");
      timer = setInterval(() => { slider.value = Number(slider.value) + 1; redraw(); if (slider.value === slider.max) stop(); }, 120);
    });
    window.addEventListener("resize", redraw);
    redraw();
  }

  const replays = JSON.parse(document.getElementById("replays").textContent);
  for (const root of document.querySelectorAll(".replay")) if (replays[root.dataset.replay]) replay(root, replays[root.dataset.replay]);
})();
