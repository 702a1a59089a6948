// The device test. Picture and sound stay here; the page sends one word: ok, or what did not work.
"use strict";
(function () {
  const page = document.getElementById("device");
  const { here, busy, good, bad } = page.dataset;
  const ORDER = ["browser", "camera", "microphone", "speaker", "network"];
  const MIN_BITS_PER_S = 1000000;
  const MAX_ROUND_TRIP_MS = 700;
  const LISTEN_MS = 12000;
  const LOUD = 0.04;
  const RESUME_MS = 2000;
  const agent = navigator.userAgent;
  const start = document.getElementById("start");
  const by = (id) => document.getElementById(id);
  let streams = [];
  let sound = null;

  // what the page shows

  function state(name, code) {
    const row = by("check-" + name);
    row.dataset.state = code === "busy…" ? "busy" : code ? "bad" : "good";
    row.querySelector(".state").textContent = code === "busy…" ? busy : code ? bad : good;
    for (const help of row.querySelectorAll(".help")) help.hidden = help.dataset.code !== code && `${name}_${help.dataset.code}` !== code;
  }

  function whichBrowser() {
    if (/iPhone|iPad|iPod/.test(agent) || (/Macintosh/.test(agent) && navigator.maxTouchPoints > 1))
      return /CriOS|EdgiOS|FxiOS/.test(agent) ? "ios-other" : "ios";
    if (/Android/.test(agent)) return "android";
    if (/Edg\//.test(agent)) return "edge";
    if (/Chrome\//.test(agent)) return "chrome";
    return /Safari\//.test(agent) ? "safari" : "other";
  }

  // the tests: each resolves to "" or to the code of what is wrong

  function testBrowser() {
    if (/Firefox|FxiOS|SamsungBrowser|; wv\)|FBAN|FBAV|Instagram|(iPhone|iPad|iPod)(?!.*Safari\/)/.test(agent)) return "browser_other";
    const fit = window.RTCPeerConnection && window.structuredClone && navigator.mediaDevices && navigator.mediaDevices.getUserMedia;
    return fit ? "" : "browser_old";
  }

  async function testNetwork() {
    try {
      const began = performance.now();
      const answer = await fetch(`${here}/speed`, { cache: "no-store" });
      const first = performance.now();
      const bytes = (await answer.arrayBuffer()).byteLength;
      const seconds = (performance.now() - first) / 1000;
      const slow = first - began > MAX_ROUND_TRIP_MS * 3 || (seconds > 0.05 && (bytes * 8) / seconds < MIN_BITS_PER_S);
      return answer.ok && slow ? "network_slow" : "";
    } catch {
      return "network_slow";
    }
  }

  function refusal(name, error) {
    if (error.name === "NotFoundError" || error.name === "OverconstrainedError") return `${name}_none`;
    if (error.name === "NotAllowedError" || error.name === "SecurityError") return `${name}_denied`;
    return `${name}_busy`;
  }

  async function open(name, wanted) {
    const stream = await navigator.mediaDevices.getUserMedia(wanted);
    streams.push(stream);
    return stream;
  }

  async function testCamera() {
    const preview = by("preview");
    try {
      preview.srcObject = await open("camera", { video: { facingMode: "user" } });
      preview.hidden = false;
      await preview.play().catch(() => {});
      return "";
    } catch (error) {
      preview.hidden = true;
      return refusal("camera", error);
    }
  }

  async function testMicrophone() {
    let stream;
    try {
      stream = await open("microphone", { audio: true });
    } catch (error) {
      return refusal("microphone", error);
    }
    const listener = sound.createAnalyser();
    const samples = new Uint8Array(listener.fftSize);
    sound.createMediaStreamSource(stream).connect(listener);
    by("say").hidden = false;
    const until = performance.now() + LISTEN_MS;
    let heard = 0;
    while (performance.now() < until && heard < 3) {
      await new Promise((done) => setTimeout(done, 100));
      listener.getByteTimeDomainData(samples);
      const loudest = samples.reduce((most, one) => Math.max(most, Math.abs(one - 128)), 0) / 128;
      by("level").value = Math.min(1, loudest * 2);
      if (loudest > LOUD) heard += 1;
    }
    return heard < 3 ? "microphone_silent" : "";
  }

  function play() {
    for (let n = 0; n < 3; n++) {
      const tone = sound.createOscillator();
      const volume = sound.createGain();
      const at = sound.currentTime + n * 0.4;
      tone.frequency.value = [523, 659, 784][n];
      volume.gain.setValueAtTime(0.3, at);
      volume.gain.exponentialRampToValueAtTime(0.001, at + 0.38);
      tone.connect(volume).connect(sound.destination);
      tone.start(at);
      tone.stop(at + 0.4);
    }
  }

  async function testSpeaker() {
    by("hearing").hidden = false;
    play();
    by("replay").onclick = play;
    const answer = await new Promise((done) => {
      by("heard").onclick = () => done("");
      by("unheard").onclick = () => done("speaker_unheard");
      by("heard").focus();
    });
    by("hearing").hidden = true;
    return answer;
  }

  // a device that can play nothing must not hold up the other tests: there resume() may wait for ever
  async function listen() {
    try {
      sound = sound || new (window.AudioContext || window.webkitAudioContext)();
      await Promise.race([sound.resume(), new Promise((done) => setTimeout(done, RESUME_MS))]);
    } catch {
      sound = null;
    }
  }

  const tests = { browser: testBrowser, network: testNetwork, camera: testCamera, microphone: testMicrophone, speaker: testSpeaker };

  async function run() {
    stop();
    start.disabled = true;
    by("good").hidden = by("bad").hidden = by("say").hidden = true;
    by("ask").hidden = false;
    for (const row of page.querySelectorAll(".checks li")) delete row.dataset.state;
    await listen();
    const found = {};
    for (const name of Object.keys(tests)) {
      state(name, "busy…");
      try {
        found[name] = await tests[name]();
      } catch {
        found[name] = "browser_old";
      }
      state(name, found[name]);
    }
    stop();
    by("ask").hidden = by("say").hidden = true;
    const result = ORDER.map((name) => found[name]).find(Boolean) || "ok";
    await fetch(`${here}/test`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ result }),
    }).catch(() => {});
    const shown = by(result === "ok" ? "good" : "bad");
    shown.hidden = false;
    shown.focus({ preventScroll: true });
    shown.scrollIntoView({ block: "center" });
    start.textContent = start.dataset.again;
    start.disabled = false;
  }

  function stop() {
    for (const stream of streams) for (const track of stream.getTracks()) track.stop();
    streams = [];
    by("preview").hidden = true;
  }

  for (const one of document.querySelectorAll(".js")) one.hidden = one.id === "ask";
  for (const one of document.querySelectorAll("[data-browser]")) one.hidden = one.dataset.browser !== whichBrowser();
  start.addEventListener("click", run);
  addEventListener("pagehide", stop);
})();
