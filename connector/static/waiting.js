// Who waits, for how long, and what is ready: one small question every five seconds, seldom when nobody looks.
const SHOWN_MS = 5000;
const HIDDEN_MS = 30000;
const MINUTE = 60000;
const NO_ANSWER_MS = 15000;
const TESTS = {
  ok: "Device test passed", browser_old: "Their browser is too old", browser_other: "Their browser is not supported",
  camera_denied: "Camera is blocked", camera_none: "No camera", camera_busy: "Camera is in use",
  microphone_denied: "Microphone is blocked", microphone_none: "No microphone", microphone_busy: "Microphone is in use",
  microphone_silent: "Microphone is silent", speaker_unheard: "Speaker not heard", network_slow: "Slow network",
};
let watched = null;
let timer = null;
let beeper = null;

// What one small question must be answered in, and whether it is worth asking again.
export const inTime = () => AbortSignal.timeout(NO_ANSWER_MS);
export const passing = (error) => error.passing || ["TypeError", "TimeoutError"].includes(error.name);

// Since when nothing was heard; null while what is shown can be believed. One lost answer is no outage, a refusal is.
export function lostSince(mine) {
  const lost = mine.over || (mine.failed && Date.now() - mine.heard > NO_ANSWER_MS);
  return lost ? clock(mine, mine.heard + mine.ahead) : null;
}

export function silence() {
  clearTimeout(timer);
  watched = null;
}

export function follow(ask, failed) {
  silence();
  const card = document.getElementById("visit");
  if (!card || !document.getElementById("waiting")) return;
  const { zone, opens, now, seen } = card.dataset;
  const mine = { ask, refused: failed, zone, opens: new Date(opens || 0), seen: JSON.parse(seen), ahead: new Date(now) - Date.now(),
    etag: null, heard: Date.now(), failed: false, beeped: 0 };
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
    const answer = await mine.ask("status", { headers: mine.etag ? { "If-None-Match": mine.etag } : {}, signal: inTime() });
    if (watched !== mine) return;
    mine.ahead = new Date(answer.headers.get("Connector-Time")) - Date.now();
    mine.etag = answer.headers.get("ETag");
    if (answer.status === 200) mine.seen = await answer.json();
    Object.assign(mine, { heard: Date.now(), failed: false, over: false });
  } catch (error) {
    if (watched !== mine) return;
    if (!passing(error)) {
      mine.over = true;
      show(mine);
      return mine.refused(error);
    }
    mine.failed = true;
  }
  show(mine);
}

function clock({ zone }, at) {
  return new Date(at).toLocaleTimeString([], { timeStyle: "short", timeZone: zone });
}

function minutes(count) {
  return count === 1 ? "1 minute" : `${count} minutes`;
}

const people = (guests, staff) => [guests && `${guests} ${guests === 1 ? "guest" : "guests"}`, staff && `${staff} of staff`]
  .filter(Boolean).join(" and ");

// What one visit's row says, in a few words. What was noted before the link opened belongs to an earlier time of a visit
// that was moved. Who is in lobby and call counts only while Teams tells of it. `at`: zone, opens, now.
export function judge(seen, at) {
  const recent = (time) => (time && new Date(time) >= at.opens ? new Date(time) : null);
  const joined = recent(seen.joined_at);
  const ended = seen.ended ? recent(seen.ended_at) : null;
  const live = seen.live === "on";
  const [lobby, guests, staff] = live ? [seen.lobby || 0, seen.guests || 0, seen.staff || 0] : [0, 0, 0];
  const inCall = people(guests, staff);
  const waiting = (since, title, more) => {
    const waited = Math.max(0, Math.floor((at.now - since) / MINUTE));
    return { state: "waiting", since, waited, title: title(waited), more };
  };
  if (ended) {
    const left = [lobby && `${lobby} in the lobby`, inCall && `${inCall} in the call`].filter(Boolean).join(", ");
    return { state: "ended", title: seen.ended === "phone" ? "Completed by phone" : "Ended",
      more: `At ${clock(at, ended)}${left ? `. Still there: ${left}` : ""}` };
  }
  if (lobby) {
    const since = new Date(seen.lobby_since || at.now);
    const who = lobby > 1 ? `${lobby} people wait` : "Waiting";
    return waiting(since, (waited) => (waited ? `${who} ${minutes(waited)}` : `${who}: just arrived`),
      `Since ${clock(at, since)}${inCall ? `, with ${inCall} in the call` : ""}`);
  }
  if (guests) return { state: "connected", title: staff ? "In the call" : "In the call without staff", more: inCall };
  if (joined && live) return { state: "joined", title: "Tapped Join", more: `At ${clock(at, joined)}, not in the lobby now` };
  if (joined) {
    const staffAt = recent(seen.staff_at);
    const unsure = "Teams does not say who is there: check in the meeting";
    if (staffAt >= joined) return { state: "joined", title: "Tapped Join", more: `At ${clock(at, joined)}. Staff went in at ${clock(at, staffAt)}. ${unsure}` };
    return waiting(joined, (waited) => (waited ? `Tapped Join ${minutes(waited)} ago` : "Tapped Join just now"), unsure);
  }
  if (seen.opened_at) return { state: "opened", title: "Not joined yet", more: `Opened the link at ${clock(at, seen.opened_at)}` };
  return { state: "none", title: "Not joined yet", more: "Has not opened the link" };
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
  if (seen.live === "off") add(`Live status unavailable${seen.live_at ? " since " + clock(mine, seen.live_at) : ""}`, "bad");
  if (seen.late_minutes && seen.late_at && new Date(seen.late_at) >= mine.opens) add(`${minutes(seen.late_minutes)} late`);
  return found;
}

function show(mine) {
  const box = document.getElementById("waiting");
  if (watched !== mine || !box) return silence();
  const lost = lostSince(mine);
  const known = judge(mine.seen, { ...mine, now: lost ? mine.heard + mine.ahead : Date.now() + mine.ahead });
  const { state, title, more, since, waited } = !lost ? known
    : { state: "lost", title: `No connection since ${lost}`, more: `What was known then: ${known.title}` };
  put(document.getElementById("waiting-title"), title);
  put(document.getElementById("waiting-more"), more);
  if (box.dataset.state !== state) {
    if (box.dataset.state !== "none" || ["waiting", "lost"].includes(state)) put(document.getElementById("announce"), title);
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
    button.textContent = !on ? "Sound is off" : beeper && beeper.state === "suspended" ? "Click for sound" : "Sound is on";
  };
  if (wanted()) listen(() => document.contains(button) && tell(wanted()));
  tell(wanted());
  button.addEventListener("click", () => {
    const on = button.textContent === "Click for sound" || !wanted();
    try {
      localStorage.setItem("visit.sound", on ? "on" : "off");
    } catch {
      // not remembered, then
    }
    if (on) beep(true);
    tell(on);
  });
}

// Browsers let a page sound only once somebody has clicked or typed in it.
function listen(changed) {
  if (!beeper) {
    beeper = new AudioContext();
    for (const kind of ["click", "keydown"]) document.addEventListener(kind, () => beeper.resume());
  }
  beeper.onstatechange = changed;
}

function beep(sure = false) {
  if (!sure && !wanted()) return;
  beeper = beeper || new AudioContext();
  beeper.resume().catch(() => {});
  if (!sure && beeper.state === "suspended") return;
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
