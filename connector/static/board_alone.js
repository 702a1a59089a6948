// The board by Microsoft sign-in alone: the rows are in the page, and this keeps them live.
import { watchBoard } from "/static/board.js";

async function send(path, body, signal) {
  const answer = await fetch("/board/status", { method: "POST", body: JSON.stringify(body), signal });
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  const error = new Error(told.detail || "Please load the page again.");
  error.passing = answer.status >= 500;
  throw error;
}

function refused(error) {
  const line = document.getElementById("problem");
  line.textContent = error.message;
  line.hidden = false;
}

watchBoard(send, refused, async () => (await fetch("/board", { redirect: "error" })).text());
