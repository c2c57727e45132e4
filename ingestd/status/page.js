"use strict";

// Everything the daemon says is put in with textContent: a topic's, a table's or an error's text is never HTML.

const SVG = "http://www.w3.org/2000/svg";
const STATES = {
  running: "good", claiming: "warn", retrying: "warn", halted: "bad", unassigned: "", released: "",
};
const STAGES = ["decode", "encode", "write", "commit"];
const PERIOD_MS = 1000;

const byId = (id) => document.getElementById(id);

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function count(value) {
  if (value === null || value === undefined) return "unknown";
  return Math.round(value).toLocaleString("en-US");
}

function short(value) {
  if (value === null || value === undefined) return "unknown";
  if (value >= 1e9) return (value / 1e9).toFixed(2) + " G";
  if (value >= 1e6) return (value / 1e6).toFixed(2) + " M";
  if (value >= 1e5) return (value / 1e3).toFixed(0) + " k";
  if (value >= 100 || value === 0) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(1);
}

function bytes(value) {
  if (value >= 1e6) return (value / 1e6).toFixed(1) + " MB/s";
  if (value >= 1e3) return (value / 1e3).toFixed(1) + " kB/s";
  return Math.round(value) + " B/s";
}

function duration(secs) {
  if (secs === null || secs === undefined) return "unknown";
  if (secs === 0) return "0 s";
  if (secs < 1) return Math.round(secs * 1000) + " ms";
  if (secs < 100) return secs.toFixed(1) + " s";
  if (secs < 6000) return Math.round(secs / 60) + " min";
  if (secs < 172800) return (secs / 3600).toFixed(1) + " h";
  return Math.round(secs / 86400) + " d";
}

const percent = (share) => Math.round(share * 100) + " %";
const millis = (value) => (value >= 100 ? Math.round(value) : value.toFixed(1));

// One curve: the newest point at the right edge, `points` seconds wide, from 0 to the highest value (or `top`).
function curve(svg, values, points, top) {
  const width = points - 1, height = 100;
  const highest = Math.max(top || 0, ...values.map((value) => value || 0)) || 1;
  const left = width - (values.length - 1);
  const steps = values.map((value, index) => `${left + index},${(height - (height * (value || 0)) / highest).toFixed(1)}`);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const floor = document.createElementNS(SVG, "path");
  floor.setAttribute("class", "floor");
  floor.setAttribute("d", `M0,${height} H${width}`);
  const parts = [floor];
  if (steps.length > 1) {
    const area = document.createElementNS(SVG, "path");
    area.setAttribute("class", "area");
    area.setAttribute("d", `M${left},${height} L${steps.join(" L")} L${width},${height} Z`);
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("class", "line");
    line.setAttribute("d", `M${steps.join(" L")}`);
    parts.push(area, line);
  }
  svg.replaceChildren(...parts);
}

function showTotals(total) {
  byId("rows").textContent = short(total.rows_per_sec);
  byId("rows-note").textContent = `${short(total.rows_per_sec_60)} over 60 s, ${bytes(total.bytes_per_sec)}`;
  byId("lag").textContent = short(total.lag_records);
  byId("lag-note").textContent = total.lag_records === 0 ? "records: caught up" : `records, ${duration(total.lag_secs)}`;
  byId("pressure").textContent = percent(total.backpressure);
  byId("pressure-note").textContent = "of the time, in the slowest partition";
  byId("total").textContent = short(total.records);
  const upserts = ["updated", "deleted", "stale", "folded", "passed"].filter((name) => total[name] > 0).map((name) => [name, total[name]]);
  const counts = [
    ["rows inserted", total.rows], ...upserts, ["duplicates", total.duplicates], ["dead letters", total.dead_letters],
  ];
  byId("counts").replaceChildren(...counts.flatMap(([name, value]) => [element("dt", name), element("dd", count(value))]));
  curve(byId("rows-spark"), total.history.rows_per_sec, 300);
  curve(byId("lag-spark"), total.history.lag_records, 300);
  curve(byId("pressure-spark"), total.history.backpressure, 300, 1);
}

function pair(text, values, className) {
  const span = element("span", undefined, "pair");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `spark ${className}`);
  curve(svg, values, 300);
  span.append(svg, element("span", text));
  return span;
}

function cell(row, name, content, className) {
  const td = element("td", undefined, className);
  td.dataset.name = name;
  td.append(typeof content === "string" ? document.createTextNode(content) : content);
  row.append(td);
}

function pressureBar(share) {
  const span = element("span"), bar = element("span", undefined, "bar"), fill = element("i");
  fill.style.width = `${Math.round(share * 100)}%`;
  bar.append(fill);
  span.append(bar, document.createTextNode(percent(share)));
  return span;
}

const COLUMNS = [
  ["Partition", (item) => (item.named ? `${item.topic}-${item.partition}` : String(item.partition))],
  ["State", (item) => element("span", item.state, `pill ${STATES[item.state] || ""}`)],
  ["Next offset", (item) => count(item.next_offset)],
  ["Log end", (item) => count(item.log_end)],
  ["Lag", (item) => (item.held ? count(item.lag_records) : "")],
  ["Lag time", (item) => (item.held ? duration(item.lag_secs) : "")],
  ["Rows/s", (item) => short(item.rows_per_sec)],
  ["Rows/batch", (item) => count(item.batch_rows)],
  ...STAGES.map((stage) => [`ms to\u00a0${stage}`, (item) => String(millis(item.batch_ms[stage]))]),
  ["Backpressure", (item) => pressureBar(item.backpressure)],
  ["Retries", (item) => count(item.retries)],
  ["Dead letters", (item) => count(item.dead_letters)],
];

function partitionRows(item) {
  const row = element("tr", undefined, item.held ? "" : "away");
  for (const [name, content] of COLUMNS) cell(row, name, content(item));
  if (item.dead_letters > 0) row.lastChild.className = "hot";
  if (!item.error) return [row];
  row.classList.add("told");
  const why = element("tr", undefined, `why ${item.state}`), td = element("td", item.error);
  td.colSpan = COLUMNS.length;
  why.append(td);
  return [row, why];
}

function pipelineCard(pipeline) {
  const card = element("section", undefined, "pipeline"), title = element("div", undefined, "title");
  const sums = element("span", undefined, "sums"), total = pipeline.total;
  const lag = total.lag_records === 0 ? "caught up" : `lag ${short(total.lag_records)}, ${duration(total.lag_secs)}`;
  sums.append(
    pair(`${short(total.rows_per_sec)} rows/s`, total.history.rows_per_sec, "rows"),
    pair(lag, total.history.lag_records, "lag"),
  );
  title.append(element("h2", pipeline.name), element("span", `topic ${pipeline.topic} into ${into(pipeline)}`, "quiet"));
  if (pipeline.partitions.length) title.append(sums);
  card.append(title);
  if (!pipeline.partitions.length) {
    card.append(element("p", "No partition is assigned to this host.", "quiet"));
    return card;
  }
  const table = element("table"), head = element("thead"), names = element("tr"), body = element("tbody");
  names.append(...COLUMNS.map(([name]) => element("th", name)));
  head.append(names);
  const named = pipeline.partitions.some((item) => item.topic !== pipeline.topic);
  body.append(...pipeline.partitions.flatMap((item) => partitionRows({ ...item, named })));
  table.append(head, body);
  const scroll = element("div", undefined, "scroll");
  scroll.append(table);
  card.append(scroll);
  if (pipeline.lake) card.append(lakeLink(pipeline));
  return card;
}

function into(pipeline) {
  const lake = pipeline.lake ? `lake ${pipeline.lake.path}` : "";
  return [pipeline.table, lake].filter(Boolean).join(" and ");
}

function lakeLink(pipeline) {
  const line = element("p", `${lakeLine(pipeline)} `, "quiet"), link = element("a", "first rows");
  link.href = `/lake/${encodeURIComponent(pipeline.name)}?limit=100`;
  line.append(link);
  return line;
}

function lakeLine(pipeline) {
  const lake = pipeline.lake;
  const cursors = pipeline.partitions.slice(0, 8).map((item) => count(item.lake_next_offset)).join(", ");
  const rolled = lake.last_roll_ms ? `last at ${new Date(lake.last_roll_ms).toLocaleTimeString()}` : "none yet";
  return `Lake: next offset ${cursors}${pipeline.partitions.length > 8 ? ", .." : ""}; lag ${count(lake.lag_records)} records, `
    + `${count(lake.open_rows)} rows open; ${count(lake.files)} files with ${count(lake.rows)} rows committed, ${rolled}.`;
}

function childLine(child) {
  const beat = child.heartbeat_age_secs === null ? "no heartbeat yet" : `heartbeat ${duration(child.heartbeat_age_secs)} ago`;
  const text = child.pid === null ? `${child.name}: not running` : `${child.name}: pid ${child.pid}, ${beat}`;
  return element("li", child.starts > 1 ? `${text}, started ${child.starts} times` : text);
}

function health(text, kind) {
  const pill = byId("health");
  pill.textContent = text;
  pill.className = `pill ${kind}`;
}

function show(status) {
  document.body.classList.remove("stale");
  health(status.ready ? "ready" : "not ready", status.ready ? "good" : "bad");
  byId("clock").textContent = `${new Date(status.at_ms).toLocaleTimeString()} · ${status.version}`;
  byId("clock").title = status.run_id ? `run ${status.run_id}` : "";
  showTotals(status.total);
  // Somebody is marking text to copy it, a command perhaps: do not take it away under the mouse.
  if (!getSelection().isCollapsed) return;
  byId("reasons").hidden = status.ready;
  byId("reasons").replaceChildren(...status.reasons.map((reason) => element("li", reason.message)));
  byId("pipelines").replaceChildren(...status.pipelines.map(pipelineCard));
  byId("children").replaceChildren(...status.children.map(childLine));
}

async function turn() {
  try {
    const answer = await fetch("/api/partitions", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (answer.status === 401) health("open this page with ?token= again", "bad");
    else if (answer.ok) show(await answer.json());
    else health(`status server answered ${answer.status}`, "bad");
  } catch {
    document.body.classList.add("stale");
    health("not reachable; trying again", "bad");
  }
  setTimeout(turn, PERIOD_MS);
}

// The token was exchanged for a cookie: keep it out of the address bar, the history and a shared screen.
if (location.search) history.replaceState(null, "", location.pathname);
turn();
