// Reads a list of HTML documents (JSON) from standard input; prints which of what they use is unsupported where: an
// object with a list of mail clients for each feature, as caniemail.com names both.

import { readFileSync } from 'node:fs';
import { caniemail } from 'caniemail';

// Those that it knows all these features of, and that most people read mail with.
const clients = ['apple-mail.*', 'gmail.*', 'outlook.*', 'yahoo.*', 'samsung-email.*', 'protonmail.*', 'fastmail.*', 'hey.*'];

const found = {};
for (const html of JSON.parse(readFileSync(0, 'utf8'))) {
  for (const [client, issues] of caniemail({ clients, html }).issues.errors) {
    for (const { title } of issues) (found[title] ??= new Set()).add(client);
  }
}
const lists = Object.entries(found).map(([title, clients]) => [title, [...clients].sort()]);
console.log(JSON.stringify(Object.fromEntries(lists)));
