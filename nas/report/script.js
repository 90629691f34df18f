// Gives the charts the page's colours, and follows when the reader switches light and dark.
(function () {
  "use strict";

  const narrow = 640; // pixels; below it there is no room for names beside points

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function layoutColours(layout) {
    const changes = {
      "font.color": colour("--text"),
      "font.family": getComputedStyle(document.body).fontFamily,
      "modebar.bgcolor": "rgba(0,0,0,0)",
      "modebar.color": colour("--line"),
      "modebar.activecolor": colour("--accent"),
      "hoverlabel.bgcolor": colour("--panel"),
      "hoverlabel.bordercolor": colour("--line"),
      "hoverlabel.font.color": colour("--text"),
    };
    for (const key of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
      changes[key + ".gridcolor"] = colour("--line");
      changes[key + ".linecolor"] = colour("--line");
      changes[key + ".tickcolor"] = colour("--line");
    }
    return changes;
  }

  function fit(chart) {
    const small = chart.clientWidth < narrow;
    chart.data.forEach(function (trace, index) {
      if (trace.texttemplate) {
        Plotly.restyle(chart, { mode: small ? "markers" : "markers+text" }, [index]);
      }
    });
    if (small) {
      Plotly.relayout(chart, { "margin.l": 48, "margin.r": 8 });
    }
  }

  function paint() {
    document.querySelectorAll(".js-plotly-plot").forEach(function (chart) {
      Plotly.relayout(chart, layoutColours(chart.layout));
    });
  }

  document.querySelectorAll(".js-plotly-plot").forEach(fit);
  paint();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
})();
