// textual.js waits for `window.onload` to connect. Before that it needs the address of the websocket,
// which a tunnel changes, and the font: the terminal measures its cells once.
"use strict";
const connect = window.onload;
window.onload = async (event) => {
  const fonts = ["16px", "bold 16px", "italic 16px"].map((style) => document.fonts.load(`${style} "Roboto Mono"`));
  await Promise.allSettled(fonts);
  const size = parseInt(new URLSearchParams(location.search).get("fontsize"), 10);
  const terminal = document.getElementById("terminal");
  terminal.dataset.sessionWebsocketUrl = location.origin.replace(/^http/, "ws") + "/ws";
  terminal.dataset.fontSize = size >= 6 && size <= 60 ? size : 16;
  connect(event);
  terminal.querySelector("textarea").focus();
};
window.addEventListener("DOMContentLoaded", () => {
  document.getElementById("again").addEventListener("click", () => location.reload());
});
// ctrl+w deletes a word in a shell and closes a tab in a browser
window.addEventListener("beforeunload", (event) => {
  if (!document.body.classList.contains("-closed")) event.preventDefault();
});
