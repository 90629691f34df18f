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

  // Which digits of a logarithmic axis have room for a label; Plotly itself lets them overlap.
  function ticks(chart) {
    const changes = {};
    for (const key of Object.keys(chart.layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
      const axis = chart._fullLayout[key];
      if (axis.type !== "log") {
        continue;
      }
      const decade = axis._length / Math.abs(axis.range[1] - axis.range[0]); // in pixels
      const room = key[0] === "x" ? 45 : 20;
      const all = decade * Math.log10(9 / 8) >= room;
      const some = decade * Math.log10(2) >= room;
      const wanted = all ? null : some ? "D2" : Math.max(1, Math.ceil(room / decade));
      const given = chart.layout[key].dtick;
      if ((given === undefined ? null : given) !== wanted) {
        changes[key + ".dtick"] = wanted;
        changes[key + ".tickmode"] = wanted === null ? "auto" : "linear";
      }
    }
    if (Object.keys(changes).length) {
      Plotly.relayout(chart, changes);
    }
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

  document.querySelectorAll(".js-plotly-plot").forEach(function (chart) {
    fit(chart);
    ticks(chart);
    chart.on("plotly_relayout", () => ticks(chart));
  });
  paint();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
})();
