"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const clock = document.getElementById("clock"), logX = document.getElementById("log-x"), logY = document.getElementById("log-y");
  const drawn = {}, BUTTONS = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];

  const clocks = [...new Set(figures.main.clocks.flatMap((known) => Object.keys(known)))];
  for (const name of clocks) clock.add(new Option(name, name));

  // Panels side by side while each has room for its labels, else below each other.
  const HEIGHT = 230, GAP = 90, ROOM = 300;
  function places(figure, width) {
    const axes = Object.keys(figure.layout).filter((key) => key.startsWith("xaxis")), margin = figure.layout.margin;
    const columns = Math.max(1, Math.min(3, axes.length, Math.floor(width / ROOM))), rows = Math.ceil(axes.length / columns);
    const inside = rows * HEIGHT + (rows - 1) * GAP, across = (width - margin.l - margin.r - (columns - 1) * 70) / columns;
    const change = { height: inside + margin.t + margin.b, "legend.y": 1 + 36 / inside };
    axes.forEach((key, i) => {
      const row = Math.floor(i / columns), left = (i % columns) * (across + 70), top = inside - row * (HEIGHT + GAP);
      change[`${key}.domain`] = [left, left + across].map((x) => x / (width - margin.l - margin.r));
      change[`${key.replace("x", "y")}.domain`] = [Math.max(0, top - HEIGHT) / inside, top / inside];
    });
    return change;
  }

  // Labels of a logarithmic axis: decades; where there are few of them 1, 2, 5; within less than that evenly spaced values.
  function labels([low, high]) {
    const span = high - low, ticks = [];
    if (span < 0.7) {
      const [from, to] = [10 ** low, 10 ** high], rough = (to - from) / 4, unit = 10 ** Math.floor(Math.log10(rough));
      const step = unit * [1, 2, 5, 10].find((times) => times * unit >= rough);
      for (let k = Math.ceil(from / step); k * step <= to; k++) ticks.push(Number((k * step).toPrecision(6)));
    } else {
      const each = Math.ceil(span / 6), digits = span > 2 ? [1] : [1, 2, 5];
      for (let k = Math.floor(low); k <= high; k++) if (k % each === 0) for (const digit of digits) ticks.push(Number(`${digit}e${k}`));
    }
    return { tickmode: "array", tickvals: ticks, ticktext: ticks.map(written) };
  }

  function written(value) {
    if (value >= 0.001 && value < 1e5) return String(value);
    const [digits, power] = value.toExponential().split("e");
    return `${digits === "1" ? "" : `${digits}\u00b7`}10<sup>${Number(power)}</sup>`;
  }

  // After every change of range; sets only what differs, or it would never end.
  function relabel(place) {
    const change = {};
    for (const [key, axis] of Object.entries(place._fullLayout)) {
      if (!/^[xy]axis\d*$/.test(key)) continue;
      const wanted = axis.type === "log" ? labels(axis.range) : { tickmode: "auto" };
      const same = axis.tickmode === wanted.tickmode && JSON.stringify(axis.tickvals ?? null) === JSON.stringify(wanted.tickvals ?? null);
      if (!same) for (const [name, value] of Object.entries(wanted)) change[`${key}.${name}`] = value;
    }
    return Object.keys(change).length ? Plotly.relayout(place, change) : null;
  }

  function settings(figure, width) {
    const change = places(figure, width);
    for (const [key, axis] of Object.entries(figure.layout)) {
      if (key.startsWith("xaxis")) {
        change[`${key}.type`] = logX.checked ? "log" : "linear";
        change[`${key}.autorange`] = true;
        change[`${key}.title`] = { text: figures.main.titles[clock.value], standoff: 6, font: { size: 13 } };
      } else if (key.startsWith("yaxis")) {
        change[`${key}.type`] = logY.checked ? axis.type : "linear";
        change[`${key}.autorange`] = true;
      }
    }
    return change;
  }

  function show(name) {
    const figure = figures[name], x = figure.clocks.map((known) => known[clock.value] || []);
    return Plotly.update(drawn[name], { x }, settings(figure, drawn[name].clientWidth));
  }

  async function draw(name) {
    const figure = figures[name], place = document.getElementById(`figure-${name}`);
    if (!figure || !figure.data.length) { if (place) place.textContent = "No metric was measured."; return; }
    drawn[name] = await Plotly.newPlot(place, figure.data, structuredClone(figure.layout), { responsive: true, displaylogo: false, modeBarButtons: BUTTONS });
    place.on("plotly_relayout", () => relabel(place));
    await show(name);
    await relabel(place);
    place.dataset.ready = "true";
  }

  const all = () => Object.keys(drawn).forEach(async (name) => { await show(name); relabel(drawn[name]); });
  for (const control of [clock, logX, logY]) control.addEventListener("change", all);
  window.addEventListener("resize", () => {
    for (const [name, place] of Object.entries(drawn)) Plotly.relayout(place, places(figures[name], place.clientWidth));
  });
  document.getElementById("reset").addEventListener("click", all);
  const parts = document.getElementById("parts");
  if (parts) parts.addEventListener("toggle", () => { if (parts.open && !drawn.parts) draw("parts"); });
  draw("main");
})();
