-- What wrk asks in `flat` and `flood`: the same request, but for who sends it. Arguments: how many callers there are; `address` (in
-- X-Forwarded-For) or `key` (in X-Api-Key); `random` or `row` (one after the other, from a start); the start.
local callers, kind, order, at = 1, "address", "random", 0

local function named(number)
  if kind == "known" then return "GET /v1/tracks/42 HTTP/1.1\r\nHost: flat\r\nX-Api-Key: key-" .. number .. "\r\n\r\n" end
  if kind == "key" then return "GET /v1/tracks/42 HTTP/1.1\r\nHost: flat\r\nX-Api-Key: spoofed-" .. number .. "\r\n\r\n" end
  local a, b, c = math.floor(number / 65536) % 256, math.floor(number / 256) % 256, number % 256
  return "GET /v1/tracks/42 HTTP/1.1\r\nHost: flat\r\nX-Forwarded-For: 44." .. a .. "." .. b .. "." .. c .. "\r\n\r\n"
end

function init(args)
  callers, kind, order, at = tonumber(args[1]), args[2], args[3], tonumber(args[4])
  math.randomseed(at + 1)
end

function request()
  if order == "random" then return named(math.random(0, callers - 1)) end
  at = at + 1
  return named(at % callers)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nREPORT {"requests":%d,"microseconds":%d,"refused":%d,"socket_errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
