// Take the reconciler's webhooks: outcomes (RECONCILER_OUTCOME_URL) and letters (RECONCILER_MAIL_URL).
//
//     WEBHOOK_SECRET=whsec_… node receive.mjs [PORT]
//
// Prints each message once, as JSON. Needs only Node: `standardwebhooks` from npm has the same check.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// One secret, or several while it is rotated.
const secrets = process.env.WEBHOOK_SECRET.split(",").map((secret) =>
  Buffer.from(secret.trim().replace(/^whsec_/, ""), "base64"),
);
// A message that was signed longer ago may be one that somebody recorded.
const TOLERANCE_SECONDS = 300;
// The ids of what was taken: a message may come twice, with the same id. Keep yours where it outlives a restart.
const seen = new Set();

// Replace this: put it where it survives, and answer soon. If this throws, it comes again.
function workOn(id, body) {
  const message = JSON.parse(body);
  console.log(JSON.stringify({ "webhook-id": id, what: message.kind ?? message.type, message }));
}

// Whether one of the signatures is by one of our secrets, over just this message, and not long ago.
function isSigned(headers, body) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!id || !/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) {
    return false;
  }
  const content = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  const ours = secrets.map((secret) => "v1," + createHmac("sha256", secret).update(content).digest("base64"));
  const given = (headers["webhook-signature"] ?? "").split(" ");
  return ours.some((one) =>
    given.some((other) => one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))),
  );
}

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    const id = request.headers["webhook-id"];
    let status = 401;
    if (request.method === "POST" && isSigned(request.headers, body)) {
      try {
        if (!seen.has(id)) workOn(id, body);
        seen.add(id);
        status = 204;
      } catch {
        status = 500;
      }
    }
    response.writeHead(status, { "content-length": 0 }).end();
  });
});

server.listen(Number(process.argv[2] ?? 8090), "127.0.0.1", () => {
  console.log(`listening on ${server.address().port}`);
});
