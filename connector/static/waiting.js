// Who waits, for how long, and what is ready: one small question every five seconds, seldom when nobody looks.
const SHOWN_MS = 5000;
const HIDDEN_MS = 30000;
const MINUTE = 60000;
const TESTS = {
  ok: "Device test passed", browser_old: "Their browser is too old", browser_other: "Their browser is not supported",
  camera_denied: "Camera is blocked", camera_none: "No camera", camera_busy: "Camera is in use",
  microphone_denied: "Microphone is blocked", microphone_none: "No microphone", microphone_busy: "Microphone is in use",
  microphone_silent: "Microphone is silent", speaker_unheard: "Speaker not heard", network_slow: "Slow network",
};
let watched = null;
let timer = null;
let beeper = null;

export function silence() {
  clearTimeout(timer);
  watched = null;
}

export function follow(ask, failed) {
  silence();
  const card = document.getElementById("visit");
  if (!card || !document.getElementById("waiting")) return;
  const { zone, opens, now, seen } = card.dataset;
  const mine = { ask, failed, zone, opens: new Date(opens || 0), seen: JSON.parse(seen), ahead: new Date(now) - Date.now(),
    etag: null, lost: null, beeped: 0 };
  watched = mine;
  prepareSound();
  show(mine);
  poll(mine);
}

async function poll(mine) {
  await look(mine);
  if (watched === mine) timer = setTimeout(poll, document.hidden ? HIDDEN_MS : SHOWN_MS, mine);
}

async function look(mine) {
  try {
    const answer = await mine.ask("status", { headers: mine.etag ? { "If-None-Match": mine.etag } : {} });
    if (watched !== mine) return;
    mine.ahead = new Date(answer.headers.get("Connector-Time")) - Date.now();
    mine.etag = answer.headers.get("ETag");
    if (answer.status === 200) mine.seen = await answer.json();
    mine.lost = null;
  } catch (error) {
    if (watched !== mine) return;
    if (error.name !== "TypeError" && !error.passing) return mine.failed(error);
    mine.lost = mine.lost || clock(mine, Date.now() + mine.ahead);
  }
  show(mine);
}

function clock({ zone }, at) {
  return new Date(at).toLocaleTimeString([], { timeStyle: "short", timeZone: zone });
}

function minutes(count) {
  return count === 1 ? "1 minute" : `${count} minutes`;
}

// What one visit's row says, in a few words. What was noted before the link opened belongs to an earlier time of a visit
// that was moved. `at`: zone, opens, now.
export function judge(seen, at) {
  const recent = (time) => (time && new Date(time) >= at.opens ? new Date(time) : null);
  const joined = recent(seen.joined_at);
  const ended = seen.ended ? recent(seen.ended_at) : null;
  const live = seen.live === "on";
  if (ended) {
    const left = live ? (seen.guests || 0) + (seen.staff || 0) : 0;
    return { state: "ended", title: seen.ended === "phone" ? "Completed by phone" : "Ended",
      more: ` at ${clock(at, ended)}${left ? `; ${left} still in the call` : ""}` };
  }
  if (live && seen.guests > 0) {
    const both = seen.staff > 0;
    return { state: "connected", title: both ? "In the call" : "The patient is in the call", more: both ? "" : ", staff is not" };
  }
  const since = seen.lobby > 0 && seen.lobby_since ? new Date(seen.lobby_since) : live ? null : joined;
  if (since) {
    const waited = Math.max(0, Math.floor((at.now - since) / MINUTE));
    const who = seen.lobby > 1 ? `${seen.lobby} people wait` : "Waiting";
    return { state: "waiting", since, waited, title: waited ? `${who} ${minutes(waited)}` : `${who}: just arrived`,
      more: `, since ${clock(at, since)}` };
  }
  if (joined) return { state: "joined", title: "Tapped Join", more: ` at ${clock(at, joined)}, not in the lobby now` };
  if (seen.opened_at) return { state: "opened", title: "Not joined yet", more: `; opened the link at ${clock(at, seen.opened_at)}` };
  return { state: "none", title: "Not joined yet", more: "; has not opened the link" };
}

function chips(mine) {
  const seen = mine.seen;
  const found = [];
  const add = (text, kind = "") => found.push([text, kind]);
  if (seen.confirmed_for) {
    const start = new Date(seen.confirmed_for).toLocaleString([], { weekday: "short", hour: "numeric", minute: "2-digit", timeZone: mine.zone });
    add(`Confirmed for ${start}`, "good");
  }
  add(seen.opened_at ? `Link opened ${clock(mine, seen.opened_at)}` : "Link not opened", seen.opened_at ? "good" : "");
  if (seen.test) add(TESTS[seen.test] || "Device test failed", seen.test === "ok" ? "good" : "bad");
  else add("No device test");
  if (seen.browser === "old" && !String(seen.test).startsWith("browser_")) add(TESTS.browser_old, "bad");
  if (seen.live === "on") {
    add(`Lobby ${seen.lobby || 0}`, seen.lobby ? "bad" : "");
    add(`Connected ${(seen.guests || 0) + (seen.staff || 0)}`, seen.guests ? "good" : "");
  }
  if (seen.live === "off") add(`Live status unavailable${seen.live_at ? " since " + clock(mine, seen.live_at) : ""}: look into Teams`, "bad");
  if (seen.late_minutes && seen.late_at && new Date(seen.late_at) >= mine.opens) add(`${minutes(seen.late_minutes)} late`);
  if (mine.lost) add(`No connection since ${mine.lost}: this is not up to date`, "bad");
  return found;
}

function show(mine) {
  const box = document.getElementById("waiting");
  if (watched !== mine || !box) return silence();
  const { state, title, more, since, waited } = judge(mine.seen, { ...mine, now: Date.now() + mine.ahead });
  put(document.getElementById("waiting-title"), title);
  put(document.getElementById("waiting-more"), more);
  if (box.dataset.state !== state) {
    if (box.dataset.state !== "none" || state === "waiting") put(document.getElementById("announce"), title);
    box.dataset.state = state;
  }
  const list = document.getElementById("chips");
  const wanted = JSON.stringify(chips(mine));
  if (list.dataset.wanted !== wanted) {
    list.dataset.wanted = wanted;
    list.replaceChildren(...chips(mine).map(([text, kind]) => {
      const chip = document.createElement("li");
      chip.className = "chip " + kind;
      chip.textContent = text;
      return chip;
    }));
  }
  const ended = state === "ended";
  for (const [id, hidden] of [["end", ended], ["reopen", !ended], ["ended", !ended]]) {
    const element = document.getElementById(id);
    if (element) element.hidden = hidden;
  }
  document.title = state === "waiting" ? `(${waited} min) Patient waiting` : "Video visit";
  if (since && mine.beeped !== +since + waited) {
    mine.beeped = +since + waited;
    beep();
  }
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// sound: off until switched on, remembered by this browser
function wanted() {
  try {
    return localStorage.getItem("visit.sound") === "on";
  } catch {
    return false;
  }
}

function prepareSound() {
  const button = document.getElementById("sound");
  const tell = (on) => {
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Sound is on" : "Sound is off";
  };
  tell(wanted());
  button.addEventListener("click", () => {
    const on = !wanted();
    try {
      localStorage.setItem("visit.sound", on ? "on" : "off");
    } catch {
      // not remembered, then
    }
    tell(on);
    if (on) beep(true);
  });
}

function beep(sure = false) {
  if (!sure && !wanted()) return;
  beeper = beeper || new AudioContext();
  beeper.resume().catch(() => {});
  for (const [at, pitch] of [[0, 660], [0.18, 880]]) {
    const tone = beeper.createOscillator();
    const volume = beeper.createGain();
    tone.frequency.value = pitch;
    volume.gain.value = 0.08;
    tone.connect(volume).connect(beeper.destination);
    tone.start(beeper.currentTime + at);
    tone.stop(beeper.currentTime + at + 0.15);
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || !watched) return;
  clearTimeout(timer);
  poll(watched);
});
setInterval(() => watched && show(watched), 5000);
