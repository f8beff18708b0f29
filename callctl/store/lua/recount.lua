-- Count again from the records of live calls what is held and in use, and put right what differs.
-- It looks at every live call of the root in one go: about 5 us each, in which the server does nothing else.
--
-- KEYS  live, the hashes to put right
-- ARGV  what stands before a trace id in the key of a record
-- Answer  per difference: number of the hash, field, what stood there, what is right

local right = {}
for _, hash in ipairs(KEYS) do right[hash] = {} end

local function count(record)
  for hash, held, _, counters in lines(record) do
    local sums = right[hash]
    if sums then
      if held ~= '-' then sums.held = (sums.held or 0) + tonumber(held) end
      for counter in string.gmatch(counters, '%S+') do sums[counter] = (sums[counter] or 0) + 1 end
    end
  end
end

for _, trace_id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local key = ARGV[1] .. trace_id
  local known = read(key)
  if known and known.state == 'live' then
    count(known)
  else
    redis.call('ZREM', KEYS[1], trace_id)
    redis.call('DEL', running(key))
  end
end

local differences = {}
for hash = 2, #KEYS do
  local stored, sums = {}, right[KEYS[hash]]
  local flat = redis.call('HGETALL', KEYS[hash])
  for n = 1, #flat, 2 do
    stored[flat[n]] = tonumber(flat[n + 1])
    if flat[n] ~= 'bal' and flat[n] ~= 'floor' then sums[flat[n]] = sums[flat[n]] or 0 end
  end
  for field, sum in pairs(sums) do
    if sum ~= (stored[field] or 0) then
      redis.call('HSET', KEYS[hash], field, digits(sum))
      differences[#differences + 1] = {hash - 1, field, digits(stored[field] or 0), digits(sum)}
    end
  end
end
return differences
