"use strict";
(() => {
  // The other half of scheduler/report/columns.py: null and absent are one here.
  const values = (column, length) => {
    if (column.same !== undefined) return Array(length).fill(column.same);
    if (column.numbers) return column.numbers.map((number) => (number === null ? null : number / 10 ** column.decimals));
    if (column.texts) return column.rows.map((index) => column.texts[index]);
    if (column.interval) {
      const [middles, below, above] = column.interval.map((part) => values(part, length));
      const end = (middle, distance, sign) => (distance === null ? null : middle + sign * distance);
      return middles.map((middle, index) => (middle === null ? null : [middle, end(middle, below[index], -1), end(middle, above[index], 1)]));
    }
    const parts = Object.entries(column.objects).map(([key, part]) => [key, values(part, length)]);
    return Array.from({ length }, (_, index) => {
      const own = parts.filter(([, part]) => part[index] !== null).map(([key, part]) => [key, part[index]]);
      return own.length ? Object.fromEntries(own) : null;
    });
  };
  const unpacked = (column) => values(column, column.length);
  const data = JSON.parse(document.getElementById("data").textContent);
  data.rows = unpacked(data.rows).map((row) => ({ metrics: {}, parameters: {}, ...row }));
  for (const row of data.rows) {
    for (const [name, told] of [["speedup", row.speedup], [data.loss, row.loss]]) {
      if (told) row.metrics[name] ??= [told.value, told.low ?? null, told.high ?? null];
    }
  }
  const at = (id) => document.getElementById(id);
  // Plotly takes some HTML within its texts; of what comes from files it is to see none.
  const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  // Of an axis; plotly keeps them as an object's keys, where `__proto__` is none.
  const category = (text) => escaped(text) + " ";
  const element = (name, text, parent) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  };
  const name = (row) => (data.sweeps.length > 1 ? row.sweep + "/" : "") + row.task;
  const key = (row) => JSON.stringify([row.sweep, row.task]);
  const percent = (value) => (value === null || value === undefined ? "" : (100 * value).toFixed(2) + "\u00a0%");
  const figure = (value) => (value === null || value === undefined ? "" : Number(value.toPrecision(4)).toString());
  const MANY = 1000; // points: more are drawn without whiskers
  const MOST_ROWS = 200; // of the table at once
  const KINDS = {
    "within": ["circle", "#1b7837"], "not within": ["x", "#b2182b"], "cannot tell yet": ["diamond-open", "#b35806"],
    "fewer steps": ["square", "#7570b3"], "other control": ["hexagon-open", "#808080"], "baseline": ["star", "#808080"], "loss not known": ["triangle-up", "#2166ac"],
  };
  const quiet = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["toImage", "sendDataToCloud"] };

  // As scheduler/views/answers.py has it: a row's answer under any bound follows from its interval.
  const bound = (row, limit) => {
    if (row.role !== "candidate" || !row.loss) return null;
    const { low, high } = row.loss;
    if (!row.decidable || low === undefined || high === undefined) return "cannot tell yet";
    return high <= limit ? "within" : low > limit ? "not within" : "cannot tell yet";
  };
  const kind = (row) => {
    if (row.role === "baseline") return "baseline";
    if (row.role === "control") return row.fewer_steps ? "fewer steps" : "other control";
    return bound(row, limit()) || "loss not known";
  };
  const limit = () => Number(at("loss").value) / 100;
  const fastest = (rows) => rows.reduce((best, row) => (!best || row.speedup.value > best.speedup.value ? row : best), null);
  const interval = (found, form) =>
    form(found.value) + (found.low === undefined ? "" : " [" + form(found.low) + ", " + form(found.high) + "]");

  const shown = () => {
    const chosen = at("task").value;
    const off = new Set([...document.querySelectorAll("#accelerators input:not(:checked)")].map((box) => box.value));
    return data.rows.filter((row) => (chosen === "" || key(row) === chosen) && !row.accelerators.some((one) => off.has(one)));
  };

  const answer = () => {
    at("loss-shown").textContent = at("loss").value + " %";
    const box = at("answer");
    box.replaceChildren();
    at("reproduce").replaceChildren();
    const groups = new Map();
    for (const row of data.rows) {
      if (!groups.has(key(row))) groups.set(key(row), []);
      groups.get(key(row)).push(row);
    }
    let commands = 0;
    for (const rows of [...groups.values()].slice(0, 50)) {
      const able = rows.filter((row) => row.role === "candidate" && row.speedup && row.loss);
      const sure = fastest(able.filter((row) => row.speed === "faster" && bound(row, limit()) === "within"));
      // As worker/results/answers/bounded.py has it: they may keep the bound and be faster than the best.
      const least = sure ? sure.speedup.value : 1;
      const open = able.filter((row) => row.speedup.value > least && (bound(row, limit()) === "cannot tell yet" ||
        (bound(row, limit()) === "within" && row.speed === "cannot tell")))
        .sort((one, other) => other.speedup.value - one.speedup.value);
      const about = data.tasks.find((task) => key(task) === key(rows[0]));
      if (about.judged && !able.length) continue; // it has its own section
      const line = element("p", name(rows[0]) + ": ", box);
      if (sure) {
        element("strong", sure.label, line);
        line.append(", " + interval(sure.speedup, (value) => value.toFixed(2) + "×") + " as fast, loss " +
          interval(sure.loss, percent) + " (95 % intervals): surely within.");
      } else if (able.length) line.append("no configuration is surely faster and within.");
      else line.append(about.without_loss + ".");
      if (open.length) line.append(" Cannot tell yet: " + open.slice(0, 6).map((row) => row.label).join(", ") + ".");
      if (sure && sure.command && commands < 5) {
        commands += 1;
        element("p", "The task that measured " + sure.label + ", by hand:", at("reproduce"));
        element("pre", sure.command, at("reproduce")).tabIndex = 0;
        if (sure.snippet) {
          element("p", sure.label + " on a pipeline of your own:", at("reproduce"));
          element("pre", sure.snippet, at("reproduce")).tabIndex = 0;
        }
      }
    }
    if (!groups.size) element("p", "Nothing is measured yet.", box);
    box.closest("section").hidden = !box.children.length;
  };

  const DEVICES = [...new Set(data.rows.map((row) => row.device))];
  const METRICS = [...new Set(data.rows.flatMap((row) => Object.keys(row.metrics)))];
  const value = (row, metric) => (Object.hasOwn(row.metrics, metric) ? row.metrics[metric] : null);
  const layout = (more) => {
    const style = getComputedStyle(document.documentElement);
    const text = style.getPropertyValue("--text").trim();
    const axis = { gridcolor: "rgba(128,128,128,.3)", zerolinecolor: "rgba(128,128,128,.6)", automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: text },
      margin: { l: 60, r: 20, t: 30, b: 50 }, legend: { orientation: "h", y: 1.12 },
      ...more, xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
    };
  };
  const whisker = (rows, metric) => ({
    type: "data", symmetric: false, thickness: 1, width: 3,
    array: rows.map((row) => { if (row === null) return 0; const [middle, , high] = value(row, metric); return high === null ? 0 : high - middle; }),
    arrayminus: rows.map((row) => { if (row === null) return 0; const [middle, low] = value(row, metric); return low === null ? 0 : middle - low; }),
  });
  const band = () => {
    // Across tasks: what none of them could have seen.
    const arms = data.tasks.filter((task) => task.null_arm && ["", key(task)].includes(at("task").value)).map((task) => task.null_arm);
    const widest = (what) => Math.max(0, ...arms.map((arm) => arm[what] ?? 0));
    const band_of = (least, middle, axis) => (least ? [{
      type: "rect", layer: "below", line: { width: 0 }, fillcolor: "rgba(128,128,128,.25)",
      xref: axis === "x" ? "x" : "paper", yref: axis === "x" ? "paper" : "y",
      x0: axis === "x" ? middle - least : 0, x1: axis === "x" ? middle + least : 1,
      y0: axis === "x" ? 0 : middle - least, y1: axis === "x" ? 1 : middle + least,
    }] : []);
    return [
      ...(at("x").value === data.loss ? band_of(widest("least_loss"), 0, "x") : []),
      ...(at("y").value === "speedup" ? band_of(widest("least_difference"), 1, "y") : []),
    ];
  };
  // One line for each task, in one trace; where all tasks are shown, a gap lies between two of them.
  const by_task = (rows, across) => {
    const groups = new Map();
    for (const row of rows) groups.set(key(row), [...(groups.get(key(row)) || []), row]);
    return [...groups.values()].flatMap((own, index) => [...(index ? [null] : []), ...own.sort((one, other) => across(one) - across(other))]);
  };
  // Of the points on the tasks' own frontiers, those that none of another task beats in both.
  const frontier_across = (rows, x, y) => {
    const ordered = [...rows].sort((one, other) => x(one) - x(other) || y(other) - y(one));
    let best = -Infinity;
    return ordered.filter((row) => y(row) > best && ((best = y(row)), true));
  };
  const CONFIGURATION = "configuration"; // instead of a metric, across
  const draw = () => {
    const [across, up] = [at("x").value, at("y").value];
    const named = across === CONFIGURATION;
    const rows = shown().filter((row) => (named || value(row, across)) && value(row, up));
    const x = (row) => (row === null ? null : named ? category(row.label) : value(row, across)[0]);
    const y = (row) => (row === null ? null : value(row, up)[0]);
    const traces = Object.entries(KINDS).map(([label, [symbol, color]]) => {
      const joined = label === "fewer steps" && !named;
      const all_own = rows.filter((row) => kind(row) === label);
      const own = joined ? by_task(all_own, x) : all_own;
      return {
        name: label, type: "scatter", x: own.map(x), y: own.map(y), connectgaps: false,
        mode: joined ? "lines+markers" : "markers",
        marker: { symbol, color, size: 10 }, line: { dash: "dot", color },
        text: own.map((row) => row && escaped(name(row) + ": " + row.label + (DEVICES.length > 1 ? " on " + (row.device || "a device not told") : ""))),
        hovertemplate: "%{text}<br>" + (named ? "" : escaped(across) + " %{x:.4g}<br>") + escaped(up) + " %{y:.4g}<extra></extra>",
        ...(rows.length > MANY ? {} : { ...(named ? {} : { error_x: whisker(own, across) }), error_y: whisker(own, up) }),
      };
    }).filter((trace) => trace.x.length);
    if (across === data.loss && up === "speedup") {
      const ahead = rows.filter((row) => row.frontier);
      const own = by_task(ahead, x);
      const line = { type: "scatter", mode: "lines", hoverinfo: "skip", connectgaps: false };
      traces.push({ ...line, name: own.includes(null) ? "frontier of each task" : "frontier", line: { color: KINDS.within[1], width: own.includes(null) ? 1 : 2 }, x: own.map(x), y: own.map(y) });
      if (own.includes(null)) {
        const best = frontier_across(ahead, x, y);
        traces.push({ ...line, name: "frontier across tasks", line: { color: KINDS.within[1], width: 4, shape: "hv" }, x: best.map(x), y: best.map(y) });
      }
    }
    Plotly.react("points", traces, layout({ shapes: band(), xaxis: { title: { text: escaped(across) } }, yaxis: { title: { text: escaped(up) } } }), quiet);
    parallel(rows, [...new Set(named ? [up] : [across, up])]);
  };
  // As lines of an ordinary plot: plotly's own parallel coordinates compile code, which the page's policy forbids.
  const parallel = (rows, metrics) => {
    const named = rows.filter((row) => Object.keys(row.parameters).length).slice(0, MANY);
    at("parallel").hidden = !named.length;
    if (!named.length) return;
    const parameters = [...new Set(named.flatMap((row) => Object.keys(row.parameters)))];
    // A parameter of a method that is off counts as 0.
    const axes = [
      ...parameters.map((one) => [one, (row) => Object.hasOwn(row.parameters, one) ? row.parameters[one] : 0]), ...metrics.map((one) => [one, (row) => value(row, one)[0]]),
    ].map(([title, get]) => {
      const values = named.map(get);
      return { title: category(title), get, low: Math.min(...values), high: Math.max(...values) };
    });
    const height = (axis, row) => (axis.high > axis.low ? (axis.get(row) - axis.low) / (axis.high - axis.low) : 0.5);
    const traces = Object.entries(KINDS).map(([label, [symbol, color]]) => {
      const own = named.filter((row) => kind(row) === label);
      return {
        name: label, type: "scatter", mode: "lines+markers", connectgaps: false, marker: { symbol, color, size: 7 }, line: { color, width: 1 },
        x: own.flatMap(() => [...axes.map((axis) => axis.title), null]),
        y: own.flatMap((row) => [...axes.map((axis) => height(axis, row)), null]),
        text: own.flatMap((row) => [...axes.map((axis) => escaped(name(row) + ": " + row.label) + "<br>" + axis.title + " " + figure(axis.get(row))), ""]),
        hovertemplate: "%{text}<extra></extra>",
      };
    }).filter((trace) => trace.x.length);
    const ends = axes.flatMap((axis) => [["low", 0, -14], ["high", 1, 14]].map(([end, y, yshift]) => (
      { x: axis.title, y, yshift, text: figure(axis[end]), showarrow: false })));
    Plotly.react("parallel", traces, layout({
      annotations: ends, xaxis: { type: "category" }, yaxis: { showticklabels: false, showgrid: false, zeroline: false, range: [-0.12, 1.12] },
    }), quiet);
  };

  const metric = (wanted) => [wanted, (row) => (value(row, wanted) || [null])[0], figure];
  const FIXED = [
    ["task", name], ["configuration", (row) => row.label], ["kind", kind],
    ["speed-up", (row) => row.speedup && row.speedup.value, figure], ["loss", (row) => row.loss && row.loss.value, percent],
    ["s/image", (row) => (value(row, "seconds_per_image") || [null])[0], figure],
    [data.metric, (row) => (value(row, data.metric) || [null])[0], figure],
    ...(DEVICES.length > 1 ? [["device", (row) => row.device]] : []), ["disturbed", (row) => row.disturbed],
  ];
  // And what is drawn, where it has no column yet.
  const IN_FIXED = new Set(["speedup", data.loss, "seconds_per_image", data.metric]);
  const columns = () => [...FIXED, ...new Set([at("x").value, at("y").value])].flatMap((one) => (
    typeof one !== "string" ? [one] : IN_FIXED.has(one) || !METRICS.includes(one) ? [] : [metric(one)]));
  let order = [3, -1];
  const table = (focused) => {
    const COLUMNS = columns();
    const words = at("words").value.toLowerCase();
    const all = shown().map((row) => COLUMNS.map(([, get]) => get(row)))
      .filter((cells) => !words || cells.join(" ").toLowerCase().includes(words));
    order[0] = Math.min(order[0], COLUMNS.length - 1);
    const [column, sign] = order;
    const empty = (cell) => cell === null || cell === undefined || cell === "";
    const compared = (one, other) => (typeof one === "number" && typeof other === "number" ? one - other : String(one ?? "").localeCompare(String(other ?? "")));
    // What has no value stands last, whichever way.
    all.sort((one, other) => empty(one[column]) - empty(other[column]) || sign * compared(one[column], other[column]));
    const made = at("rows");
    made.replaceChildren();
    const head = element("tr", undefined, element("thead", undefined, made));
    COLUMNS.forEach(([title], number) => {
      const cell = element("th", undefined, head);
      cell.scope = "col";
      cell.setAttribute("aria-sort", number !== column ? "none" : sign > 0 ? "ascending" : "descending");
      const button = element("button", title + (number !== column ? "" : sign > 0 ? " ▲" : " ▼"), cell);
      button.type = "button";
      button.addEventListener("click", () => { order = [number, number === column ? -sign : 1]; table(number); });
      if (focused === number) button.focus();
    });
    const body = element("tbody", undefined, made);
    for (const cells of all.slice(0, MOST_ROWS)) {
      const line = element("tr", undefined, body);
      cells.forEach((cell, number) => element("td", cell === null || cell === undefined ? "" : (COLUMNS[number][2] || String)(cell), line));
    }
    at("count").textContent = all.length + " rows" + (all.length > MOST_ROWS ? ", the first " + MOST_ROWS + " shown" : "");
  };

  const devices = () => {
    at("devices").hidden = !data.ran.length;
    if (!data.ran.length) return;
    const last = Math.max(...data.ran.map((one) => one.ended || one.started));
    const bars = (label, color, own) => ({
      name: label, type: "bar", orientation: "h", marker: { color }, y: own.map((one) => category((data.sweeps.length > 1 ? one.sweep + ": " : "") + one.device)),
      base: own.map((one) => new Date(1000 * one.started).toISOString()), x: own.map((one) => 1000 * Math.max(1, (one.ended || last) - one.started)),
      text: own.map((one) => escaped(one.task + ", attempt " + one.attempt + (one.stage ? " (" + one.stage + ")" : "") + (one.cause ? ": " + one.cause : ""))),
      textposition: "none", hovertemplate: "%{text}<extra></extra>",
    });
    Plotly.react("devices", [
      bars("completed or running", "#2166ac", data.ran.filter((one) => !one.cause)),
      bars("failed", "#b2182b", data.ran.filter((one) => one.cause)),
    ], layout({ barmode: "overlay", xaxis: { type: "date", title: { text: "UTC" } }, yaxis: { type: "category", ticklabelposition: innerWidth < 640 ? "inside" : "outside" } }), quiet);
  };

  const choice = (id, texts, wanted) => {
    for (const [text, chosen] of texts) { const made = element("option", text, at(id)); made.value = chosen; }
    if (texts.some(([, chosen]) => chosen === wanted)) at(id).value = wanted;
  };
  const all = () => { draw(); table(); };
  choice("task", [...data.tasks.map((task) => [name(task), key(task)]), ["all tasks", ""]], data.tasks.length ? key(data.tasks[0]) : "");
  const objective = data.tasks.map((task) => task.objective).find((one) => METRICS.includes(one)) ?? METRICS[0];
  choice("x", [CONFIGURATION, ...METRICS].map((one) => [one, one]), METRICS.includes(data.loss) ? data.loss : CONFIGURATION);
  choice("y", METRICS.map((one) => [one, one]), METRICS.includes("speedup") ? "speedup" : objective);
  for (const one of [...new Set(data.rows.flatMap((row) => row.accelerators))].sort()) {
    const label = element("label", undefined, at("accelerators"));
    const box = element("input", undefined, label);
    box.type = "checkbox"; box.checked = true; box.value = one;
    label.append(" " + one);
    box.addEventListener("change", all);
  }
  at("accelerators").hidden = at("accelerators").children.length < 2;
  at("loss").value = 100 * data.max_loss;
  at("loss").addEventListener("input", () => { answer(); all(); });
  for (const id of ["task", "x", "y"]) at(id).addEventListener("change", all);
  at("words").addEventListener("input", () => table());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { draw(); devices(); });
  answer(); all(); devices();
})();
