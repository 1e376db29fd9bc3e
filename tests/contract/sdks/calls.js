// Node's SDK makes each call; prints the method's name for each that worked, or the error.
const Cronofy = require('cronofy');

const given = JSON.parse(process.argv[2]);
const { client_id, client_secret, access_token, refresh_token, calendar_id, profile_id } = given;
const sdk = new Cronofy({ client_id, client_secret, access_token, refresh_token });
sdk.urls.api = given.url;

const event = (event_id) => ({
  calendar_id, event_id, summary: 'Interview', start: given.start, end: given.end
});

async function call (name, method, act) {
  let worked = false;
  let said = method;
  try {
    worked = Boolean(await act());
    if (!worked) said += ': unexpected answer';
  } catch (error) {
    said += ': ' + error.message;
  }
  console.log(JSON.stringify([name, worked, said]));
}

async function read () {
  const ids = [];
  let page = await sdk.readEvents({ tzid: 'Etc/UTC', only_managed: true });
  for (;;) {
    ids.push(...page.events.map((each) => each.event_id));
    if (!page.pages.next_page) return ids.sort().join();
    page = await sdk.readEvents({ next_page: page.pages.next_page });
  }
}

const done = async (promise) => { await promise; return true; };
const channel = async () => (await sdk.listNotificationChannels()).channels[0].channel_id;

(async () => {
  await call('exchange a code', 'requestAccessToken', async () =>
    (await sdk.requestAccessToken({ code: given.code, redirect_uri: given.redirect_uri })).access_token);
  await call('refresh', 'refreshAccessToken', async () => (await sdk.refreshAccessToken()).access_token);
  await call('UserInfo', 'userInfo', async () => (await sdk.userInfo()).sub === given.sub);
  await call('account', 'accountInformation', async () =>
    (await sdk.accountInformation()).account.account_id === given.sub);
  await call('calendars', 'listCalendars', async () =>
    (await sdk.listCalendars()).calendars[0].calendar_id === calendar_id);
  await call('create a calendar', 'createCalendar', async () =>
    (await sdk.createCalendar({ profile_id, name: 'Interviews' })).calendar.calendar_id);
  await call('profiles', 'profileInformation', async () =>
    (await sdk.profileInformation()).profiles[0].profile_id === profile_id);
  await call('write an event', 'createEvent', async () => {
    for (const id of ['e1', 'e2', 'e3']) await sdk.createEvent(event(id));
    return true;
  });
  await call('read events, page by page', 'readEvents', async () => (await read()) === 'e1,e2,e3');
  await call('batch', 'batch', async () => {
    const relative_url = `/v1/calendars/${calendar_id}/events`;
    const { calendar_id: _, ...data } = event('e4');
    const entries = [
      { method: 'POST', relative_url, data },
      { method: 'DELETE', relative_url, data: { event_id: 'e4' } }
    ];
    return (await sdk.batch({ batch: entries })).batch.every((entry) => entry.status === 202);
  });
  await call('delete an event', 'deleteEvent', async () => {
    await sdk.deleteEvent({ calendar_id, event_id: 'e1' });
    return (await read()) === 'e2,e3';
  });
  await call('delete all events', 'bulkDeleteEvents', async () => {
    await sdk.bulkDeleteEvents({ delete_all: true });
    return (await read()) === '';
  });
  await call('open a channel', 'createNotificationChannel', async () =>
    (await sdk.createNotificationChannel({ callback_url: 'urn:x' })).channel.channel_id);
  await call('channels', 'listNotificationChannels', channel);
  await call('close a channel', 'deleteNotificationChannel', async () => {
    await sdk.deleteNotificationChannel({ channel_id: await channel() });
    return (await sdk.listNotificationChannels()).channels.length === 0;
  });
  await call('connect a conferencing service', 'conferencingServiceAuthorizations', async () =>
    (await sdk.conferencingServiceAuthorizations({ redirect_uri: 'https://app.example/back' }))
      .authorization_request.url);
  await call('check a signature', 'hmacValid', async () =>
    sdk.hmacValid({ hmac: given.signature, body: given.body }));
  await call('revoke a profile', 'revokeProfileAuthorization', () =>
    done(sdk.revokeProfileAuthorization({ profile_id })));
  const granted = { ...sdk.config };
  await call('revoke', 'revokeAuthorization', async () => {
    await sdk.revokeAuthorization();
    return sdk.userInfo({ access_token: granted.access_token }).then(() => false, () => true);
  });
})();
