-- Without arguments there is no `request` function, and wrk stays on its fast path. With a number and a key it sends as
-- so many callers by turns: the caller of that key, and those of the same key followed by -1, -2 and so on.
function init(args)
  local callers, key = tonumber(args[1] or 1), args[2]
  if callers == 1 then return end
  local requests, turn = {}, 0
  for i = 0, callers - 1 do
    wrk.headers["x-api-key"] = i == 0 and key or key .. "-" .. i
    requests[i] = wrk.format()
  end
  function request()
    turn = (turn + 1) % callers
    return requests[turn]
  end
end

-- wrk calls this once at the end; without a `response` function it stays on its fast path.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nREPORT {"requests":%d,"microseconds":%d,"refused":%d,"socket_errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
