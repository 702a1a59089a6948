// Today's visits, whoever waits longest first. Who waits is asked for often, the schedule every few minutes.
import { inTime, judge, lostSince, passing } from "/static/waiting.js";

const SHOWN_MS = 15000;
const HIDDEN_MS = 60000;
const SCHEDULE_MS = 300000;
const ORDER = { waiting: 0, joined: 1, opened: 1, none: 1, connected: 2, ended: 3 };
let shown = null;
let timer = null;

export function leaveBoard() {
  clearTimeout(timer);
  shown = null;
}

export async function showBoard(ask, send, failed, { view, department }) {
  const named = view === "department" ? department || remembered() : "";
  const path = `board?view=${encodeURIComponent(view)}&department=${encodeURIComponent(named)}`;
  const read = async () => (await ask(path, { signal: inTime() })).text();
  const html = await read();
  leaveBoard();
  const content = document.getElementById("content");
  const banner = content.querySelector(".banner"); // a chart shows whose it is, always
  content.innerHTML = html;
  if (banner) content.prepend(banner);
  watchBoard(send, failed, read);
  const choice = document.getElementById("department");
  if (choice) choice.addEventListener("change", () => {
    remember(choice.value);
    showBoard(ask, send, failed, { view, department: choice.value }).catch(failed);
  });
}

// Keeps the rows of the page live. `read`: the board as HTML, for its schedule.
export function watchBoard(send, failed, read) {
  const mine = { send, refused: failed, read, zone: rows()[0]?.dataset.zone, heard: Date.now(), failed: false,
    ahead: new Date(document.getElementById("board").dataset.now) - Date.now(), schedule: Date.now(), unread: false };
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
  try {
    if (!document.hidden && Date.now() - mine.schedule > SCHEDULE_MS) await readSchedule(mine);
    const asked = rows();
    const body = asked.length ? await mine.send("board", { picks: asked.map((row) => row.dataset.pick) }, inTime()) : null;
    if (shown !== mine) return;
    Object.assign(mine, { heard: Date.now(), failed: false });
    if (body) paint(mine, body.visits, asked);
  } catch (error) {
    if (shown !== mine) return;
    if (!passing(error)) {
      mine.over = true;
      warn(mine);
      return mine.refused(error);
    }
    mine.failed = true;
  }
  warn(mine);
  timer = setTimeout(look, document.hidden ? HIDDEN_MS : SHOWN_MS, mine);
}

// What was booked, moved or cancelled since. Who waits is told also while the EHR does not answer.
async function readSchedule(mine) {
  try {
    const fresh = new DOMParser().parseFromString(await mine.read(), "text/html").getElementById("schedule");
    if (shown !== mine) return;
    const at = pickOf(document.activeElement);
    document.getElementById("schedule").replaceChildren(...fresh.childNodes);
    paint(mine, rows().map((row) => JSON.parse(row.dataset.seen)));
    if (at) rows().find((row) => row.dataset.pick === at)?.querySelector("button").focus({ preventScroll: true });
    Object.assign(mine, { schedule: Date.now(), unread: false });
  } catch (error) {
    if (!passing(error)) throw error;
    mine.unread = true;
  }
}

const pickOf = (element) => element?.closest("#board tbody tr")?.dataset.pick;

function warn(mine) {
  const lost = lostSince(mine);
  const line = document.getElementById("stale");
  const said = lost ? `No connection since ${lost}: this list is not up to date.`
    : mine.unread ? "The schedule cannot be read now: what was just booked or moved is missing here." : "";
  if (line.textContent !== said) line.textContent = said;
  line.hidden = !said;
  document.getElementById("board").classList.toggle("lost", Boolean(lost));
  if (lost) document.title = "Video visits today";
}

function paint(mine, visits, asked = rows()) {
  const found = asked.map((row, place) => {
    const { zone, opens, start } = row.dataset;
    const seen = judge(visits[place], { zone, opens: new Date(opens || 0), now: Date.now() + mine.ahead });
    const cell = row.querySelector(".state");
    cell.dataset.state = seen.state;
    for (const [name, text] of [["text", seen.title], ["more", seen.more]]) {
      const line = cell.querySelector(`.${name}`);
      if (line.textContent !== text) line.textContent = text;
    }
    return { row, order: ORDER[seen.state], at: +(seen.since || new Date(start)) };
  });
  const body = document.querySelector("#board tbody");
  if (!body) return;
  const after = [...found].sort((a, b) => a.order - b.order || a.at - b.at).map(({ row }) => row);
  if (after.some((row, place) => row !== body.rows[place])) {
    const at = document.activeElement;
    body.append(...after);
    if (body.contains(at)) at.focus({ preventScroll: true }); // what is moved loses the keyboard's place
  }
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
