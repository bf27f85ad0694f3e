-- wrk script: sends the request that many times in one write: wrk -s pipeline.lua URL -- 16
init = function(args)
  local one, all = wrk.format(), {}
  for i = 1, tonumber(args[1]) or 16 do all[i] = one end
  batch = table.concat(all)
end

request = function() return batch end
