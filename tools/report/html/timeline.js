// Memory over time: what is needed, what could be given back, the limit, the reserve, the refusals.
const svgNames = "http://www.w3.org/2000/svg";
function svg(tag, attributes, text) {
  const node = document.createElementNS(svgNames, tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  if (text != null) node.textContent = text;
  return node;
}

function drawTimeline() {
  const s = report.samples, at = s.at_realtime_ns, section = byId("time");
  if (at.length < 2) {
    section.classList.add("empty");
    byId("time-note").textContent = "No course over time was recorded.";
    return;
  }
  const first = at[0], last = at[at.length - 1], seconds = (last - first) / 1e9;
  const peak = s.needed_bytes.reduce((a, b) => Math.max(a, b), 0);
  const limit = s.limit_bytes[at.length - 1];
  const story = "From " + bytes(s.needed_bytes[0]) + " to " + bytes(s.needed_bytes[at.length - 1]) +
      " in " + duration(seconds) + ", at most " + bytes(peak) +
      (limit == null ? "." : " of " + bytes(limit) + ".");
  byId("time-note").textContent = story;
  const spans = [
    ["all", "All"], [86400, "Last day"], [3600, "Last hour"], [600, "Last 10 min"],
    [60, "Last minute"]
  ].filter(([span]) => span === "all" || span * 1.5 < seconds);
  let span = "all";
  const redraw = () => drawChart(span === "all" ? first : last - span * 1e9, last, story);
  if (spans.length > 1)
    choices(byId("ranges"), spans, span, value => {
      span = value;
      redraw();
    });
  drawChartLegend();
  drawTimeTable();
  let width = 0;
  new ResizeObserver(() => {
    if (byId("chart").clientWidth === width) return;
    width = byId("chart").clientWidth;
    redraw();
  }).observe(byId("chart"));
}

function drawChartLegend() {
  const entries = [
    ["needed-line", "In use by all", "stroke", "var(--needed)"],
    ["own", "This process", "stroke", "var(--ink)"],
    ["cache", "File cache that can be given back", "", "var(--cache)"],
    ["limit", "Limit", "stroke", "var(--limit)"], ["reserve", "Reserve", "", "var(--reserve)"]
  ];
  byId("chart-legend").append(...entries.map(([name, label, kind, fill]) => {
    const swatch = make("i", {class: kind});
    if (kind) swatch.style.borderTopColor = fill;
    else swatch.style.background = fill;
    if (name === "own") swatch.style.borderTopStyle = "dotted";
    return make("li", null, swatch, label);
  }));
}

// Indices of the samples of [from, to] that are drawn: of each stretch of a pixel the highest and
// the lowest, so that a peak of one sample stays.
function thinned(from, to, pixels) {
  const s = report.samples, bisect = d3.bisector(x => x);
  const start = Math.max(0, bisect.left(s.at_realtime_ns, from) - 1);
  const end = Math.min(s.at_realtime_ns.length, bisect.right(s.at_realtime_ns, to) + 1);
  const kept = [];
  for (let i = start; i < end;) {
    const column = Math.floor((s.at_realtime_ns[i] - from) / (to - from) * pixels);
    let low = i, high = i;
    const begin = i;
    for (; i < end && Math.floor((s.at_realtime_ns[i] - from) / (to - from) * pixels) === column;
         ++i) {
      if (s.needed_bytes[i] < s.needed_bytes[low]) low = i;
      if (s.needed_bytes[i] > s.needed_bytes[high]) high = i;
    }
    kept.push(...new Set([begin, low, high, i - 1].sort((a, b) => a - b)));
  }
  return kept;
}

function drawChart(from, to, story) {
  const box = byId("chart"), s = report.samples;
  const width = Math.max(300, box.clientWidth), height = width < 560 ? 230 : 290;
  const margin = {top: 22, right: 2, bottom: 24, left: 58};
  const kept = thinned(from, to, width);
  const x =
      d3.scaleTime().domain([from / 1e6, to / 1e6]).range([margin.left, width - margin.right]);
  let highest = 0, limit = 0;
  for (const i of kept) {
    highest = Math.max(highest, s.needed_bytes[i] + s.reclaimable_bytes[i]);
    limit = Math.max(limit, s.limit_bytes[i] || 0);
  }
  const limitShown = limit > 0 && limit < 3 * highest;
  const top = Math.max(limitShown ? limit * 1.06 : highest * 1.15, MiB);
  const unit = top >= 2 * GiB ? [GiB, "GiB"] : [MiB, "MiB"];
  const y = d3.scaleLinear().domain([0, top / unit[0]]).range([height - margin.bottom, margin.top]);
  const up = value => y(value / unit[0]).toFixed(1),
        along = i => x(s.at_realtime_ns[i] / 1e6).toFixed(1);
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: "img",
    tabindex: "0",
    "aria-label": story + " Left and right arrow keys read out single moments."
  });
  const clip = svg("clipPath", {id: "inside"});
  clip.append(
      svg("rect", {x: margin.left, y: 0, width: width - margin.left - margin.right, height}));
  picture.append(clip);
  for (const tick of y.ticks(5)) {
    picture.append(
        svg("line",
            {class: "grid", x1: margin.left, x2: width - margin.right, y1: y(tick), y2: y(tick)}),
        svg("text", {x: margin.left - 8, y: y(tick) + 4, "text-anchor": "end"},
            tick + (tick === 0 ? "" : " " + unit[1])));
  }
  const wanted = Math.max(2, Math.floor(width / 130)), format = x.tickFormat(wanted);
  for (const tick of x.ticks(wanted)) {
    const text = to - from < 48 * 3600e9 ?
        (to - from < 600e9 ? clock.format(tick) : clock.format(tick).slice(0, 5)) :
        format(tick);
    const place = Math.min(Math.max(x(tick), margin.left + 16), width - 22);
    picture.append(svg("text", {x: place, y: height - 6, "text-anchor": "middle"}, text));
  }
  const group = svg("g", {"clip-path": "url(#inside)"});
  const area = (low, high) => "M" + kept.map(i => along(i) + "," + up(high(i))).join("L") + "L" +
      kept.slice().reverse().map(i => along(i) + "," + up(low(i))).join("L") + "Z";
  const line = value => "M" + kept.map(i => along(i) + "," + up(value(i))).join("L");
  const needed = i => s.needed_bytes[i];
  group.append(
      svg("path", {class: "cache", d: area(needed, i => needed(i) + s.reclaimable_bytes[i])}),
      svg("path", {class: "needed", d: area(() => 0, needed)}),
      svg("path", {class: "own-line", d: line(i => Math.min(s.own_anonymous_bytes[i], top))}),
      svg("path", {class: "needed-line", d: line(needed)}));
  if (limitShown) {
    const capped = i => s.limit_bytes[i] == null ? top : s.limit_bytes[i];
    group.append(
        svg("path", {
          class: "reserve",
          d: area(i => Math.max(0, capped(i) - report.session.reserve_bytes), capped)
        }),
        svg("path", {class: "limit", d: line(capped)}));
  }
  const marks =
      report.refusals.filter(one => one.at_realtime_ns >= from && one.at_realtime_ns <= to + 2e9);
  for (const one of marks) {
    const place = Math.min(x(one.at_realtime_ns / 1e6), width - margin.right).toFixed(1);
    group.append(
        svg("line",
            {class: "refusal", x1: place, x2: place, y1: margin.top, y2: height - margin.bottom}));
  }
  picture.append(group);
  if (limitShown)
    picture.append(
        svg("text", {class: "limit-text", x: margin.left + 8, y: up(limit) - 6},
            "Limit " + bytes(limit)));
  else if (limit > 0)
    picture.append(
        svg("text", {x: margin.left + 8, y: margin.top - 8},
            "The limit of " + bytes(limit) + " is above this picture"));
  if (marks.length && marks[marks.length - 1] === newest) {
    const place = Math.min(x(newest.at_realtime_ns / 1e6), width - margin.right);
    const level =
        bound ? bound.usage_bytes - bound.reclaimable_bytes : s.needed_bytes[kept[kept.length - 1]];
    const words = {
      refused: "refused",
      exception: "exception",
      reported: "reported",
      ended: "ended"
    }[newest.outcome] ||
        "refused";
    const text = newest.request === "touch" ? words : words + " " + bytes(newest.request_bytes);
    const left = place > width / 2;
    picture.append(
        svg("circle", {class: "dot", cx: Math.min(place, width - margin.right - 4), cy: up(level), r: 5}),
        svg("text", {
          class: "refusal-text",
          x: place + (left ? -12 : 10),
          y: +up(level) + 22,
          "text-anchor": left ? "end" : "start"
        },
            text));
  }
  box.replaceChildren(picture);
  readMoments(picture, x, kept, margin, width, height);
}

// A cursor under the pointer, or moved by the arrow keys, with the numbers of that moment.
function readMoments(picture, x, kept, margin, width, height) {
  const s = report.samples,
        line = svg(
            "line",
            {class: "cursor", y1: margin.top, y2: height - margin.bottom, visibility: "hidden"});
  picture.append(line);
  let current = kept.length - 1;
  const show = index => {
    current = Math.max(0, Math.min(kept.length - 1, index));
    const i = kept[current], place = x(s.at_realtime_ns[i] / 1e6);
    line.setAttribute("x1", place);
    line.setAttribute("x2", place);
    line.setAttribute("visibility", "visible");
    byId("chart-readout")
        .replaceChildren(
            make("b", null, time(s.at_realtime_ns[i])), "  in use ",
            make("b", null, bytes(s.needed_bytes[i])), ", this process ",
            make("b", null, bytes(s.own_anonymous_bytes[i])), ", can be given back ",
            make("b", null, bytes(s.reclaimable_bytes[i])),
            s.limit_bytes[i] == null ? "" : ", limit " + bytes(s.limit_bytes[i]));
  };
  picture.addEventListener("pointermove", event => {
    const place = (event.clientX - picture.getBoundingClientRect().left) * width /
        picture.getBoundingClientRect().width;
    const wanted = x.invert(place).getTime() * 1e6;
    const at = d3.bisector(i => s.at_realtime_ns[i]).left(kept, wanted);
    show(
        at > 0 &&
                wanted - s.at_realtime_ns[kept[at - 1]] <
                    (s.at_realtime_ns[kept[at]] || Infinity) - wanted ?
            at - 1 :
            at);
  });
  picture.addEventListener("pointerleave", () => line.setAttribute("visibility", "hidden"));
  picture.addEventListener("keydown", event => {
    const step = {
      ArrowLeft: -1,
      ArrowRight: 1,
      PageUp: -20,
      PageDown: 20,
      Home: -kept.length,
      End: kept.length
    }[event.key];
    if (!step) return;
    event.preventDefault();
    show(current + step);
  });
}

function drawTimeTable() {
  const s = report.samples, wanted = 40,
        step = Math.max(1, Math.ceil(s.at_realtime_ns.length / wanted));
  byId("time-numbers").addEventListener("toggle", function fill() {
    byId("time-numbers").removeEventListener("toggle", fill);
    const table = make(
        "table", null,
        make(
            "thead", null,
            make(
                "tr", null,
                ...["Time", "In use", "This process", "Can be given back", "Limit", "Left"].map(
                    (name, i) => make("th", {scope: "col", class: i ? "number" : ""}, name)))));
    const body = make("tbody");
    for (let i = (s.at_realtime_ns.length - 1) % step; i < s.at_realtime_ns.length; i += step) {
      body.append(make(
          "tr", null, make("td", null, time(s.at_realtime_ns[i])),
          ...[s.needed_bytes, s.own_anonymous_bytes, s.reclaimable_bytes, s.limit_bytes,
              s.headroom_bytes]
              .map(column => make("td", {class: "number"}, bytes(column[i])))));
    }
    table.append(body);
    byId("time-numbers").append(make("div", {class: "scroll"}, table));
  });
}
