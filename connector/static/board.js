// Today's visits, whoever waits longest first.
import { judge } from "/static/waiting.js";

const SHOWN_MS = 15000;
const HIDDEN_MS = 60000;
const ORDER = { waiting: 0, joined: 1, opened: 1, none: 1, connected: 2, ended: 3 };
let shown = null;
let timer = null;

export function leaveBoard() {
  clearTimeout(timer);
  shown = null;
}

export async function showBoard(ask, send, failed, { view, department }) {
  const named = view === "department" ? department || remembered() : "";
  const answer = await ask(`board?view=${encodeURIComponent(view)}&department=${encodeURIComponent(named)}`);
  leaveBoard();
  const content = document.getElementById("content");
  const banner = content.querySelector(".banner"); // a chart shows whose it is, always
  content.innerHTML = await answer.text();
  if (banner) content.prepend(banner);
  watchBoard(send, failed);
  const choice = document.getElementById("department");
  if (choice) choice.addEventListener("change", () => {
    remember(choice.value);
    showBoard(ask, send, failed, { view, department: choice.value }).catch(failed);
  });
}

// Keeps the rows of the page live.
export function watchBoard(send, failed) {
  const mine = { send, failed, ahead: new Date(document.getElementById("board").dataset.now) - Date.now() };
  shown = mine;
  paint(mine, rows().map((row) => JSON.parse(row.dataset.seen)));
  timer = setTimeout(look, SHOWN_MS, mine);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || !shown) return;
  clearTimeout(timer);
  look(shown);
});

const rows = () => [...document.querySelectorAll("#board tbody tr")];

async function look(mine) {
  if (shown !== mine) return;
  const asked = rows();
  try {
    if (asked.length) {
      const body = await mine.send("board", { picks: asked.map((row) => row.dataset.pick) });
      if (shown !== mine) return;
      paint(mine, body.visits, asked);
    }
  } catch (error) {
    if (shown !== mine) return;
    if (error.name !== "TypeError" && !error.passing) return mine.failed(error);
  }
  timer = setTimeout(look, document.hidden ? HIDDEN_MS : SHOWN_MS, mine);
}

function paint(mine, visits, asked = rows()) {
  const found = asked.map((row, place) => {
    const { zone, opens, start } = row.dataset;
    const seen = judge(visits[place], { zone, opens: new Date(opens || 0), now: Date.now() + mine.ahead });
    const cell = row.querySelector(".state");
    cell.dataset.state = seen.state;
    const text = seen.since ? seen.title + seen.more : seen.title;
    if (cell.querySelector(".text").textContent !== text) cell.querySelector(".text").textContent = text;
    return { row, order: ORDER[seen.state], at: +(seen.since || new Date(start)) };
  });
  const body = document.querySelector("#board tbody");
  if (!body) return;
  const after = [...found].sort((a, b) => a.order - b.order || a.at - b.at).map(({ row }) => row);
  if (after.some((row, place) => row !== body.rows[place])) body.append(...after);
  const waiting = found.filter(({ order }) => order === 0).length;
  const line = document.getElementById("announce");
  const said = waiting ? `${waiting} waiting` : "";
  if (line && line.textContent !== said) line.textContent = said;
  document.title = waiting ? `(${waiting}) Patients waiting` : "Video visits today";
}

function remembered() {
  try {
    return localStorage.getItem("visit.department") || "";
  } catch {
    return "";
  }
}

function remember(department) {
  try {
    localStorage.setItem("visit.department", department);
  } catch {
    // asked again next time
  }
}
