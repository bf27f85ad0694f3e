"use strict";

async function showClient() {
  const told = await (await fetch("/whoami")).json();
  for (const name of ["client", "scheme"]) document.querySelector(`#${name}`).textContent = told[name];
}

function showSocket() {
  const state = document.querySelector("#socket");
  const url = new URL("/echo", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url);
  socket.addEventListener("open", () => socket.send("it works"));
  socket.addEventListener("message", (event) => state.textContent = event.data);
  socket.addEventListener("close", () => state.textContent = "closed");
}

showClient();
showSocket();
