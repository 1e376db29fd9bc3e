// Hand an account and an event over to the reconciler, and ask about the event.
//
//   npm install
//   CRONOFY_REFRESH_TOKEN=… node hand_over.mjs SUB CALENDAR_ID < event.json

import { readFileSync } from "node:fs";
import { createClient } from "celery-node";

const url = process.env.BROKER_URL ?? "redis://localhost:6379/0";
// One client per queue; results are in the ledger's Redis, which is also the broker here.
const intake = createClient(url, url, "reconciler.intake");
const urgent = createClient(url, url, "reconciler.urgent");

const [sub, calendar_id] = process.argv.slice(2);
const event = JSON.parse(readFileSync(0, "utf8"));

// Tasks take only keyword arguments, so the positional list stays empty.
const call = (client, task, kwargs) => client.sendTask(task, [], kwargs).get(30_000);

try {
  await call(intake, "conferencing.connect_account", {
    sub,
    refresh_token: process.env.CRONOFY_REFRESH_TOKEN,
  });
  // Resolves once the ledger has the event; from then on it is watched.
  await call(intake, "conferencing.track", { sub, calendar_id, event });
  const diagnosis = await call(urgent, "conferencing.explain", {
    sub,
    calendar_id,
    event_id: event.event_id,
  });
  console.log(JSON.stringify(diagnosis, null, 2));
} finally {
  await Promise.all([intake.disconnect(), urgent.disconnect()]);
}
