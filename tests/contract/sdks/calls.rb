# Ruby's SDK makes each call; prints the method's name for each that worked, or the error.
require "json"
require "time"
require "cronofy"

given = JSON.parse(ARGV[0])
CALENDAR = given["calendar_id"]
sdk = Cronofy::Client.new(
  client_id: given["client_id"],
  client_secret: given["client_secret"],
  access_token: given["access_token"],
  refresh_token: given["refresh_token"]
)
event = lambda do |id|
  { event_id: id, summary: "Interview", start: Time.parse(given["start"]), end: Time.parse(given["end"]) }
end
read = -> { sdk.read_events(tzid: "Etc/UTC", only_managed: true).map(&:event_id).sort }

def call(name, method)
  worked = yield
  said = worked ? method : "#{method}: unexpected answer"
rescue StandardError => e
  worked = false
  said = "#{method}: #{e.class} #{e.message}"
ensure
  puts JSON.generate([name, worked ? true : false, said])
end

call("exchange a code", "get_token_from_code") do
  sdk.get_token_from_code(given["code"], given["redirect_uri"]).access_token
end
call("refresh", "refresh_access_token") { sdk.refresh_access_token.access_token }
call("UserInfo", "userinfo") { sdk.userinfo.sub == given["sub"] }
call("account", "account") { sdk.account.account_id == given["sub"] }
call("calendars", "list_calendars") { sdk.list_calendars.first.calendar_id == CALENDAR }
call("create a calendar", "create_calendar") do
  sdk.create_calendar(given["profile_id"], "Interviews").calendar_id
end
call("profiles", "list_profiles") { sdk.list_profiles.first.profile_id == given["profile_id"] }
call("write an event", "upsert_event") do
  %w[e1 e2 e3].each { |id| sdk.upsert_event(CALENDAR, event.call(id)) }
end
call("read events, page by page", "read_events") { read.call == %w[e1 e2 e3] }
call("batch", "batch") do
  sdk.batch do |builder|
    builder.upsert_event(CALENDAR, event.call("e4"))
    builder.delete_event(CALENDAR, "e4")
  end
end
call("delete an event", "delete_event") do
  sdk.delete_event(CALENDAR, "e1")
  read.call == %w[e2 e3]
end
call("delete all events", "delete_all_events") do
  sdk.delete_all_events
  read.call == []
end
call("open a channel", "create_channel") { sdk.create_channel("urn:x").channel_id }
call("channels", "list_channels") { sdk.list_channels.first.channel_id }
call("close a channel", "close_channel") do
  sdk.close_channel(sdk.list_channels.first.channel_id)
  sdk.list_channels.empty?
end
call("connect a conferencing service", "get_conferencing_service_authorizations") do
  sdk.get_conferencing_service_authorizations("https://app.example/back").url
end
call("check a signature", "hmac_valid?") { sdk.hmac_valid?(hmac: given["signature"], body: given["body"]) }
call("revoke a profile", "revoke_profile_authorization") do
  sdk.revoke_profile_authorization(given["profile_id"])
  true
end
call("revoke", "revoke_authorization") do
  sdk.revoke_authorization
  true
end
