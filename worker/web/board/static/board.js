// Refreshes the changing part of the first page every few seconds, until stopped.
"use strict";
(() => {
  const live = document.getElementById("live");
  const note = document.getElementById("refresh");
  if (!live || !note) return;
  const button = document.createElement("button");
  const words = document.createElement("span");
  const updated = `Times are UTC. Updated every ${live.dataset.seconds} seconds. `;
  let running = true;

  function say(text) {
    words.textContent = text;
    button.textContent = running ? "Stop updating" : "Resume updating";
  }

  async function refresh() {
    // Not while somebody is in it with the keyboard, nor while the page is hidden.
    if (!running || document.hidden || live.contains(document.activeElement)) return;
    try {
      const answer = await fetch(live.dataset.source);
      // No longer signed in: the form stands where the page was.
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      if (!running || live.contains(document.activeElement)) return;
      const open = [...live.querySelectorAll("details[open]")].map((each) => each.id);
      live.innerHTML = text;
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      say(updated);
    } catch {
      say("Times are UTC. The last update failed; retrying. ");
    }
  }

  button.type = "button";
  button.addEventListener("click", () => {
    running = !running;
    say(running ? updated : "Times are UTC. Not updated. ");
    refresh();
  });
  note.replaceChildren(words, button);
  say(updated);
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, Number(live.dataset.seconds) * 1000);
})();
