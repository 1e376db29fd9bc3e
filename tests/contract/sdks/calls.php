<?php
// PHP's SDK makes each call; prints the method's name for each that worked, or the error.
spl_autoload_register(function ($class) {
    require getenv('CRONOFY_PHP') . '/src/' . str_replace(['Cronofy\\', '\\'], ['', '/'], $class) . '.php';
});

$given = json_decode($argv[1], true);
$calendar = $given['calendar_id'];
$names = ['client_id', 'client_secret', 'access_token', 'refresh_token'];
$sdk = new Cronofy\Cronofy(array_intersect_key($given, array_flip($names)));
$sdk->apiRootUrl = $given['url'];
$sdk->hostDomain = substr($given['url'], strlen('http://')); // which it sends as Host

$event = fn ($id) => [
    'calendar_id' => $calendar, 'event_id' => $id, 'summary' => 'Interview',
    'start' => $given['start'], 'end' => $given['end'],
];
$read = function () use ($sdk) {
    $ids = [];
    foreach ($sdk->readEvents(['tzid' => 'Etc/UTC', 'only_managed' => true]) as $each) {
        $ids[] = $each['event_id'];
    }
    sort($ids);
    return implode(',', $ids);
};
$channel = fn () => $sdk->listChannels()['channels'][0]['channel_id'];

function call($name, $method, $act)
{
    try {
        $worked = (bool) $act();
        $said = $worked ? $method : "$method: unexpected answer";
    } catch (Throwable $error) {
        $worked = false;
        $said = "$method: " . $error->getMessage();
    }
    echo json_encode([$name, $worked, $said]), "\n";
}

call('exchange a code', 'requestToken', fn () => $sdk->requestToken(
    ['code' => $given['code'], 'redirect_uri' => $given['redirect_uri']]
) === true);
call('refresh', 'refreshToken', fn () => $sdk->refreshToken() === true);
call('UserInfo', 'getUserInfo', fn () => $sdk->getUserInfo()['sub'] === $given['sub']);
call('account', 'getAccount', fn () => $sdk->getAccount()['account']['account_id'] === $given['sub']);
call('calendars', 'listCalendars', fn () => $sdk->listCalendars()['calendars'][0]['calendar_id'] === $calendar);
call('create a calendar', 'createCalendar', fn () => $sdk->createCalendar(
    ['profile_id' => $given['profile_id'], 'name' => 'Interviews']
)['calendar']['calendar_id']);
call('profiles', 'getProfiles', fn () => $sdk->getProfiles()['profiles'][0]['profile_id'] === $given['profile_id']);
call('write an event', 'upsertEvent', function () use ($sdk, $event) {
    foreach (['e1', 'e2', 'e3'] as $id) {
        $sdk->upsertEvent($event($id));
    }
    return true;
});
call('read events, page by page', 'readEvents', fn () => $read() === 'e1,e2,e3');
call('batch', 'executeBatch', function () use ($sdk, $event, $calendar) {
    $data = $event('e4');
    unset($data['calendar_id']);
    $batch = Cronofy\Batch\Batch::create()->upsertEvent($calendar, $data)->deleteEvent($calendar, 'e4');
    return !$sdk->executeBatch($batch)->hasErrors();
});
call('delete an event', 'deleteEvent', function () use ($sdk, $read, $calendar) {
    $sdk->deleteEvent(['calendar_id' => $calendar, 'event_id' => 'e1']);
    return $read() === 'e2,e3';
});
call('delete all events', 'bulkDeleteEvents', function () use ($sdk, $read) {
    $sdk->bulkDeleteEvents(['delete_all' => true]);
    return $read() === '';
});
call('open a channel', 'createChannel', fn () => $sdk->createChannel(
    ['callback_url' => 'urn:x']
)['channel']['channel_id']);
call('channels', 'listChannels', $channel);
call('close a channel', 'closeChannel', function () use ($sdk, $channel) {
    $sdk->closeChannel(['channel_id' => $channel()]);
    return $sdk->listChannels()['channels'] === [];
});
call('connect a conferencing service', 'conferencingServiceAuthorization', fn () =>
    $sdk->conferencingServiceAuthorization(
        ['redirect_uri' => 'https://app.example/back']
    )['authorization_request']['url']);
call('check a signature', 'hmacValid', fn () => $sdk->hmacValid($given['signature'], $given['body']));
call('revoke a profile', 'revokeProfile', function () use ($sdk, $given) {
    $sdk->revokeProfile($given['profile_id']);
    return true;
});
call('revoke', 'revokeAuthorization', function () use ($sdk) {
    $sdk->revokeAuthorization(['token' => $sdk->refreshToken]);
    return true;
});
