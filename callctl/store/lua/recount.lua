-- Count again from the records of live calls what is held and in use, and put right what differs.
-- It looks at every live call of the root in one go: about 5 us each, in which the server does nothing else.
--
-- KEYS  live, guests, the hashes to put right
-- ARGV  what stands before a trace id in the key of a record
-- Answer  per difference: number of the hash, field, what stood there, what is right

local right = {}
for _, hash in ipairs(KEYS) do
  right[hash], right[beside(hash, 'b')] = {}, {}
end

local function count(record)
  for hash, held, _, counters, sources in lines(record) do
    local sums = right[hash]
    if sums then
      if held ~= '-' then sums.held = (sums.held or 0) + tonumber(held) end
      for counter in string.gmatch(counters, '%S+') do sums[counter] = (sums[counter] or 0) + 1 end
      local of_source = right[beside(hash, 'b')]
      for source, _, drawn in string.gmatch(sources, '(%S+) (%S+) (%S+)') do
        of_source['held ' .. source] = (of_source['held ' .. source] or 0) + tonumber(drawn)
      end
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

for _, key in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local known = read(key)
  if known and known.state == 'live' then count(known) else redis.call('SREM', KEYS[2], key) end
end

local differences = {}

-- Put right the fields of a hash that are counted, and all that should be there.
local function put_right(number, hash, is_counted)
  local stored, sums = {}, right[hash]
  local flat = redis.call('HGETALL', hash)
  for n = 1, #flat, 2 do
    if is_counted(flat[n]) then
      stored[flat[n]] = tonumber(flat[n + 1])
      sums[flat[n]] = sums[flat[n]] or 0
    end
  end
  for field, sum in pairs(sums) do
    if sum ~= (stored[field] or 0) then
      redis.call('HSET', hash, field, digits(sum))
      differences[#differences + 1] = {number, field, digits(stored[field] or 0), digits(sum)}
    end
  end
end

for hash = 3, #KEYS do
  put_right(hash - 2, KEYS[hash], function(field) return field ~= 'bal' and field ~= 'floor' and field ~= 'ids' end)
  if beside(KEYS[hash], 'b') ~= KEYS[hash] then
    put_right(hash - 2, beside(KEYS[hash], 'b'), function(field) return string.sub(field, 1, 5) == 'held ' end)
  end
end
return differences
