"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const clock = document.getElementById("clock"), logX = document.getElementById("log-x"), logY = document.getElementById("log-y");
  const drawn = {}, BUTTONS = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];

  const clocks = [...new Set(figures.main.clocks.flatMap((known) => Object.keys(known)))];
  for (const name of clocks) clock.add(new Option(name, name));

  function settings(figure) {
    const change = {};
    for (const [key, axis] of Object.entries(figure.layout)) {
      if (key.startsWith("xaxis")) {
        change[`${key}.type`] = logX.checked ? "log" : "linear";
        change[`${key}.autorange`] = true;
        change[`${key}.title.text`] = clock.value;
      } else if (key.startsWith("yaxis")) {
        change[`${key}.type`] = logY.checked ? axis.type : "linear";
        change[`${key}.autorange`] = true;
      }
    }
    return change;
  }

  function show(name) {
    const figure = figures[name], x = figure.clocks.map((known) => known[clock.value] || []);
    return Plotly.update(drawn[name], { x }, settings(figure));
  }

  async function draw(name) {
    const figure = figures[name], place = document.getElementById(`figure-${name}`);
    if (!figure || !figure.data.length) { if (place) place.textContent = "No metric was measured."; return; }
    drawn[name] = await Plotly.newPlot(place, figure.data, structuredClone(figure.layout), { responsive: true, displaylogo: false, modeBarButtons: BUTTONS });
    await show(name);
    place.dataset.ready = "true";
  }

  const all = () => Object.keys(drawn).forEach(show);
  for (const control of [clock, logX, logY]) control.addEventListener("change", all);
  document.getElementById("reset").addEventListener("click", all);
  const parts = document.getElementById("parts");
  if (parts) parts.addEventListener("toggle", () => { if (parts.open && !drawn.parts) draw("parts"); });
  draw("main");
})();
