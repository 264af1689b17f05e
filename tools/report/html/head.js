// What happened, in one sentence; the lines that did it; who holds how much of the limit.
function drawHead() {
  const session = report.session;
  document.title = "oomguard: " + (session.command || session.program || "report");
  const program = (session.command || session.program || "").slice(0, 160);
  byId("kicker").append(
      "oomguard report \u00b7 ", make("b", null, program),
      " \u00b7 process " + session.pid + ", " + session.state,
      newest ? " \u00b7 " + dateAndTime(newest.at_realtime_ns) :
               " \u00b7 since " + dateAndTime(session.start_realtime_ns));
  byId("headline").textContent = report.headline;
  const told = report.summary.filter(line => !/^(At:|Held:|Lines:|More:|Why:| )/.test(line));
  byId("request").textContent = told.join(" ");
  const why = report.summary.find(line => line.startsWith("Why:"));
  if (why)
    byId("request").after(
        make("p", {class: "lead"}, why.replace(/^Why:\s*/, "Why it could not go on: ")));
  const where = newest && newest.where ? newest.where.split("\n").filter(Boolean) : [];
  byId("where").hidden = where.length === 0;
  byId("where").append(...where.map(line => make("li", null, line)));
  drawFacts();
  drawHolders();
}

function drawFacts() {
  const facts = [];
  const last = report.samples.needed_bytes.length - 1;
  if (newest) {
    if (newest.request !== "touch") facts.push(["Asked for", newest.request_bytes, ""]);
    if (bound) facts.push(["Limit", bound.limit_bytes, limitName(bound).replace(/ \(.*/, "")]);
    if (bound) facts.push(["In use", Math.max(0, bound.usage_bytes - bound.reclaimable_bytes), ""]);
    facts.push(["This process", newest.anonymous_bytes || newest.resident_bytes, ""]);
  } else if (last >= 0) {
    facts.push(["Limit", report.samples.limit_bytes[last], ""]);
    facts.push(["In use", report.samples.needed_bytes[last], ""]);
    facts.push(["This process", report.samples.own_anonymous_bytes[last], ""]);
  }
  for (const [name, value, rest] of facts) {
    byId("facts").append(make(
        "div", null, make("dt", null, name + (rest ? " (" + rest + ")" : "")),
        make("dd", null, bytes(value))));
  }
}

// The limit as one bar: this process, others, what can be given back, what is left.
function drawHolders() {
  const box = byId("holders");
  const last = report.samples.needed_bytes.length - 1;
  let limit, used, cache, own, neighbours = [];
  if (newest && bound && bound.limit_bytes != null) {
    limit = bound.limit_bytes;
    cache = Math.max(0, Math.min(bound.reclaimable_bytes, bound.usage_bytes));
    used = Math.max(0, bound.usage_bytes - cache);
    own = newest.anonymous_bytes || newest.resident_bytes;
    neighbours = newest.neighbours;
  } else if (last >= 0 && report.samples.limit_bytes[last] != null) {
    const samples = report.samples;
    limit = samples.limit_bytes[last];
    used = samples.needed_bytes[last];
    cache = samples.reclaimable_bytes[last];
    own = samples.own_anonymous_bytes[last];
  }
  if (!limit) return box.remove();
  own = Math.min(own, used);
  const named = neighbours.slice().sort((a, b) => b.resident_bytes - a.resident_bytes).slice(0, 4);
  let left = used - own;
  const parts = [["This process", own, "var(--own)"]];
  const shades = [100, 78, 60, 46];
  named.forEach((one, i) => {
    const held = Math.min(one.resident_bytes, left);
    left -= held;
    if (held > 0)
      parts.push([
        one.name + " " + one.pid, held,
        "color-mix(in srgb, var(--muted) " + shades[i] + "%, var(--panel))"
      ]);
  });
  if (left > limit / 200)
    parts.push(["Everything else", left, "color-mix(in srgb, var(--muted) 32%, var(--panel))"]);
  if (cache > 0) parts.push(["File cache that can be given back", cache, "var(--cache)"]);
  const free = Math.max(0, limit - used - cache);
  const bar = make("div", {class: "bar", role: "img"});
  for (const [name, value, fill] of parts) {
    const part = make("i", {title: name + ": " + bytes(value)});
    part.style.width = 100 * value / Math.max(limit, used + cache) + "%";
    part.style.background = fill;
    bar.append(part);
  }
  const reserve = newest ? newest.reserve_bytes : report.session.reserve_bytes;
  if (reserve > 0 && reserve < limit) {
    const mark = make("span", {class: "reserve", title: "Reserve: " + bytes(reserve)});
    mark.style.width = 100 * reserve / limit + "%";
    bar.append(mark);
  }
  const words = parts.concat([["Free", free, "var(--panel)"]]);
  bar.setAttribute(
      "aria-label",
      "Of " + bytes(limit) + ": " + words.map(part => part[0] + " " + bytes(part[1])).join(", "));
  const legend = make("ul", {class: "legend"});
  for (const [name, value, fill] of words) {
    const swatch = make("i");
    swatch.style.background = fill;
    if (fill === "var(--panel)") swatch.style.boxShadow = "inset 0 0 0 1px var(--line)";
    legend.append(make("li", null, swatch, name + " ", make("b", null, bytes(value))));
  }
  box.append(bar, legend);
}
