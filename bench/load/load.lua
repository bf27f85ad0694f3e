-- wrk script: wrk -s load.lua URL -- METHOD BODY_BYTES DEPTH
-- DEPTH > 1 sends that many requests in one write. Prints what was counted as one line of JSON.
init = function(args)
  wrk.method = args[1]
  local size, depth = tonumber(args[2]), tonumber(args[3])
  if size > 0 then wrk.body = string.rep("x", size) end
  if depth > 1 then
    local one, all = wrk.format(), {}
    for i = 1, depth do all[i] = one end
    local batch = table.concat(all)
    request = function() return batch end
  end
end

done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "bytes": %d, "p50_us": %d, "p99_us": %d, ' ..
    '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
