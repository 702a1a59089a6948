// The patient's page while it is open: hears when something changed, counts minutes, opens the door in time.
// Without it every page works; it only has to be loaded again by hand.
"use strict";
(function () {
  const POLL_MS = 10000;
  const TICK_MS = 5000;
  const OLD_MS = 120000;
  const WAITING = ["waiting", "outside"];
  const here = document.getElementById("visit").dataset.here;
  let skew = 0;
  let came = 0;
  let sound = null;
  let lock = null;
  let wanted = false;

  const shown = () => document.getElementById("visit");
  const now = () => Date.now() + skew;
  const oldBrowser = () =>
    !(window.RTCPeerConnection && navigator.mediaDevices && navigator.mediaDevices.getUserMedia && window.structuredClone) ||
    /Firefox|FxiOS|SamsungBrowser|; wv\)|FBAN|FBAV|Instagram|(iPhone|iPad|iPod)(?!.*Safari\/)/.test(navigator.userAgent);

  // what a fresh page needs

  function prepare() {
    const { now: told, stage } = shown().dataset;
    came = Date.now();
    skew = Date.parse(told) - came;
    for (const one of document.querySelectorAll(".js")) one.hidden = one.id === "own-clock" || one.id === "old-browser";
    const old = document.getElementById("old-browser");
    if (old) old.hidden = !oldBrowser();
    ownClock();
    sharing();
    joining();
    const chime = document.getElementById("chime");
    if (chime) {
      chime.checked = Boolean(sound);
      chime.addEventListener("change", () => (chime.checked ? ring(0) : (sound = null)));
    }
    wanted = WAITING.includes(stage) || Boolean(shown().dataset.opens);
    keepAwake();
    tick();
  }

  // digits as the server writes them: some browsers have others for Arabic
  const language = () => document.documentElement.lang + "-u-nu-latn";

  // the time on this device, where it is another one

  function ownClock() {
    const { starts, zone } = shown().dataset;
    const line = document.getElementById("own-clock");
    if (!starts || !line) return;
    const at = new Date(starts);
    const how = { weekday: "long", hour: "numeric", minute: "2-digit" };
    try {
      const mine = at.toLocaleString(language(), how);
      line.hidden = mine === at.toLocaleString(language(), { ...how, timeZone: zone });
      line.querySelector("b").textContent = mine;
    } catch {
      line.hidden = true;
    }
  }

  // minutes

  function minutes(ms) {
    const n = Math.max(1, Math.ceil(ms / 60000));
    return new Intl.NumberFormat(language(), { style: "unit", unit: "minute", unitDisplay: "long" }).format(n);
  }

  function count(id, ms) {
    const line = document.getElementById(id);
    const number = line && line.querySelector("b");
    if (!number) return;
    line.hidden = ms <= 0;
    try {
      const text = minutes(ms);
      if (number.textContent !== text) number.textContent = text;
    } catch {
      // an old browser keeps the number that the page came with
    }
  }

  function tick() {
    const { starts, since, opens } = shown().dataset;
    if (starts) count("starts", Date.parse(starts) - now());
    if (since) count("waited", now() - Date.parse(since));
    if (opens && now() > Date.parse(opens)) renew();
  }

  // what changed meanwhile

  let heard = false;
  async function hear() {
    const { stage, opens } = shown().dataset;
    if (document.hidden && !WAITING.includes(stage)) return;
    if (heard && !opens && !["open", "in_call", ...WAITING].includes(stage)) return;
    heard = true;
    const browser = oldBrowser() ? "old" : "fit";
    const body = JSON.stringify({ browser });
    const answer = await fetch(`${here}/presence`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (!answer.ok) return;
    const said = await answer.json();
    if (said.look === shown().dataset.look) return;
    if (said.in_call && WAITING.includes(shown().dataset.stage)) ring(3);
    await renew();
  }

  let renewing = false;
  async function renew() {
    if (renewing) return;
    renewing = true;
    try {
      const answer = await fetch(here, { headers: { Accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
      const visit = fresh && fresh.querySelector("#visit");
      if (!answer.ok || !visit) return;
      const same = ["stage", "look", "starts", "opens"].every((name) => visit.dataset[name] === shown().dataset[name]);
      if (same) {
        came = Date.now();
        return;
      }
      document.getElementById("main").replaceWith(fresh);
      prepare();
      document.getElementById("what").focus();
    } finally {
      renewing = false;
    }
  }

  // a sound, where a tap allowed one

  function ring(times) {
    try {
      sound = sound || (times ? null : new (window.AudioContext || window.webkitAudioContext)());
      if (!sound) return;
      if (sound.state === "suspended") sound.resume();
      for (let n = 0; n < times; n++) {
        const tone = sound.createOscillator();
        const volume = sound.createGain();
        const at = sound.currentTime + n * 0.45;
        tone.frequency.value = n % 2 ? 784 : 659;
        volume.gain.setValueAtTime(0.25, at);
        volume.gain.exponentialRampToValueAtTime(0.001, at + 0.4);
        tone.connect(volume).connect(sound.destination);
        tone.start(at);
        tone.stop(at + 0.4);
      }
    } catch {
      // no sound then
    }
  }

  // a screen that stays on

  async function keepAwake() {
    const line = document.getElementById("awake");
    if (!wanted || document.hidden || !navigator.wakeLock) return;
    try {
      lock = lock && !lock.released ? lock : await navigator.wakeLock.request("screen");
      if (line) line.hidden = false;
    } catch {
      if (line) line.hidden = true;
    }
  }

  // joining: with a mouse there is room for a second tab, and this one goes on waiting

  function joining() {
    const besides = window.matchMedia("(hover: hover) and (pointer: fine)").matches;
    for (const form of document.querySelectorAll("form")) {
      if (besides) form.target = "_blank";
      form.addEventListener("submit", () => {
        ring(0);
        if (besides) setTimeout(() => hear().catch(() => {}), 2500);
      });
    }
  }

  // the link for others

  function sharing() {
    const link = document.getElementById("link");
    if (!link) return;
    const copy = document.getElementById("copy");
    const send = document.getElementById("send");
    link.addEventListener("focus", () => link.select());
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(link.value);
      } catch {
        link.select();
        document.execCommand("copy");
      }
      copy.textContent = copy.dataset.done;
    });
    send.hidden = !navigator.share;
    send.addEventListener("click", () => navigator.share({ url: link.value }).catch(() => {}));
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    keepAwake();
    // a tab that lay in the background for days: the visit may have moved, and the door may be open
    (Date.now() - came > OLD_MS ? renew() : hear()).catch(() => {});
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) renew().catch(() => {});
  });
  prepare();
  hear().catch(() => {});
  setInterval(() => tick(), TICK_MS);
  setInterval(() => hear().catch(() => {}), POLL_MS);
})();
