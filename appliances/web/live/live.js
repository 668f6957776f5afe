"use strict";

// How many events a chart shows: two minutes of them.
const POINTS = 120;
// How long without an event the stream counts as lost, in milliseconds.
const SILENCE = 5000;

// What is drawn, where it is there: a caption, how its value is made of two events, how it is written.
const rate = (names) => (now, before, seconds) => {
  if (before === null || !names.every((name) => name in now)) return null;
  const sum = (values) => names.reduce((total, name) => total + (values[name] ?? 0), 0);
  return Math.max(0, (sum(now) - sum(before)) / seconds);
};
const value = (name) => (now) => now[name] ?? null;
const CHARTS = [
  ["Requests a second", rate(["mirage_http_requests_total"]), plain],
  ["Connections", value("mirage_http_connections"), plain],
  ["New connections a second", rate(["mirage_http_connections_total"]), plain],
  ["Octets received a second", rate(["mirage_tcp_received_bytes_total"]), plain],
  ["Octets sent a second", rate(["mirage_tcp_sent_bytes_total"]), plain],
  ["Segments sent again a second", rate(["mirage_tcp_retransmitted_segments_total"]), plain],
  ["Free pages", value("mirage_pool_pages_free"), plain],
  ["Memory not taken yet", value("mirage_heap_untouched_bytes"), octets],
  ["Memory", value("process_resident_memory_bytes"), octets],
  ["Processor, % of one", (now, before, seconds) => {
    const used = rate(["process_cpu_seconds_total"])(now, before, seconds);
    return used === null ? null : used * 100;
  }, (number) => number.toFixed(1)],
];

function plain(number) {
  return number.toLocaleString("en", { maximumFractionDigits: number < 10 ? 1 : 0 });
}

function octets(number) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (number < 1024) return `${plain(number)} ${unit}`;
    number /= 1024;
  }
  return `${plain(number)} GiB`;
}

function lasted(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const words = [];
  let left = Math.floor(seconds);
  for (const [unit, length] of parts) {
    const count = Math.floor(left / length);
    left -= count * length;
    if (count > 0 || (unit === "s" && words.length === 0)) words.push(`${count} ${unit}`);
  }
  return words.slice(0, 2).join(" ");
}

const SVG = "http://www.w3.org/2000/svg";

// One figure: a caption with the last value, and the line of the values before it.
class Chart {
  constructor(caption, measure, write) {
    Object.assign(this, { caption, measure, write, values: [], figure: null });
  }

  show(now, before, seconds) {
    const value = this.measure(now, before, seconds);
    if (value === null) return;
    if (this.figure === null) this.make();
    this.values.push(value);
    if (this.values.length > POINTS) this.values.shift();
    const most = Math.max(1, ...this.values);
    const shift = POINTS - this.values.length;
    const points = this.values.map((value, at) => `${shift + at},${(38 - 36 * value / most).toFixed(2)}`);
    this.line.setAttribute("points", points.join(" "));
    this.last.textContent = this.write(value);
  }

  make() {
    this.figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    this.last = document.createElement("strong");
    caption.append(this.caption, this.last);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${POINTS} 40`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    this.line = document.createElementNS(SVG, "polyline");
    svg.append(this.line);
    this.figure.append(caption, svg);
    document.getElementById("charts").append(this.figure);
  }
}

const charts = CHARTS.map((chart) => new Chart(...chart));
const rows = new Map();

// All of it as text, a row a metric; rows that were there stay.
function list(now, before, seconds) {
  for (const [name, value] of Object.entries(now)) {
    let row = rows.get(name);
    if (row === undefined) {
      const cells = ["th", "td", "td"].map((tag) => document.createElement(tag));
      cells[0].scope = "row";
      cells[0].textContent = name;
      const line = document.createElement("tr");
      line.append(...cells);
      document.getElementById("all").append(line);
      row = cells;
      rows.set(name, row);
    }
    row[1].textContent = value.toLocaleString("en");
    const grows = /_total(\.|$)/.test(name) && before !== null && name in before;
    row[2].textContent = grows ? plain(Math.max(0, (value - before[name]) / seconds)) : "";
  }
}

const state = document.getElementById("state");
let last = null;
let heard = performance.now();

function tell(text, isLost) {
  state.textContent = text;
  state.classList.toggle("lost", isLost);
}

function show(now) {
  const up = "mirage_uptime_seconds";
  heard = performance.now();
  // An appliance that was started again counts from the beginning.
  if (last !== null && now[up] < last[up]) last = null;
  const seconds = last === null ? 1 : Math.max(0.001, now[up] - last[up]);
  document.getElementById("uptime").textContent = `for ${lasted(now[up])}`;
  for (const chart of charts) chart.show(now, last, seconds);
  list(now, last, seconds);
  last = now;
  tell("It tells each second what it counted.", false);
}

let source = null;

function listen() {
  source = new EventSource("events");
  source.addEventListener("message", (event) => show(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    tell("It does not answer; asking again.", true);
    // A browser comes back by itself, unless it was told something else than a stream: that all places are taken.
    if (source.readyState === EventSource.CLOSED) {
      source.close();
      setTimeout(listen, 5000);
    }
  });
}

// A connection that is cut without a word looks like one on which nothing happens.
setInterval(() => {
  if (performance.now() - heard > SILENCE && source.readyState === EventSource.OPEN) {
    heard = performance.now();
    source.close();
    tell("It has fallen silent; asking again.", true);
    listen();
  }
}, 1000);

listen();
