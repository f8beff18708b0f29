-- Take channels and money at every level, or nothing.
--
-- KEYS  record, live, where the call is found by its name, the hash of the trunk if there is one, of each level,
--       one counter per rate
-- ARGV  in JSON an array: nonce, version of the record to write, mode (take | probe | dry), force (no limits), lease (ms),
--       trace id, root, seconds to find it by its name, per hash an array of what the names from HOLD on say (false
--       where there is none): hold (a trunk has none), hold with overflow, a line's sources, what `watch.lua` is asked,
--       a line's counters, their number, per counter: name, limit, hard limit; per rate: attempts per second; floor of
--       an account that has left, which has not even what costs nothing; then the session
-- Answer  what is remembered of a call that is known already, else words:
--         T (taken) or R (refused), the first rate that is used up (0: none),
--         per hash: what is available (T: after, R: before; "-": unlimited), overflow (0 | 1),
--                   in use per counter, this call not counted. A trunk has the last only.
--                   Then what is left of each source (T: after, R: before), which no force takes more than, and
--                   what `watch.lua` answers, as it was before.

local HOLD, HOLD_OVERFLOW, SOURCES, WATCH, NAMES, COUNTERS = 1, 2, 3, 4, 5, 6
local HELD, OVERFLOW, WATCHED, HASH = 1, 2, 4, 6  -- a line's parts, where nothing is asked any more

-- The key of a call's record below another root (`keys.word`).
local function record_of(root, trace_id)
  local word = string.gsub(root, '[^%w_.~:@+/=,;!*#&-]', function(byte)
    return string.format('%%%02X', string.byte(byte))
  end)
  return '{' .. (word == '' and '%' or word) .. '}:s:' .. trace_id
end

local nonce, version, mode, forced, lease, trace_id, root, name_ttl_s, hashes, rates, closed =
  unpack(cjson.decode(ARGV[1]))
local known = parse(redis.call('GET', KEYS[1]))
if known and known.state ~= 'refused' then
  return known.nonce == nonce and known.answer or remembered(KEYS[1])
end
if mode == 'take' and not redis.call('SET', KEYS[3], root, 'EX', name_ttl_s, 'NX') then
  local other = redis.call('GET', KEYS[3])
  if other ~= root then
    local namesake = record_of(other, trace_id)
    local its = parse(redis.call('GET', namesake))
    if its and its.state ~= 'refused' then return remembered(namesake) end
    redis.call('SET', KEYS[3], root, 'EX', name_ttl_s)
  end
end

-- What a call takes of a hash, by field, for an account may be there twice.
local function fields_of(write)
  local found = {}
  for n = 3, #write, 2 do found[write[n]] = write[n + 1] end
  return found
end

local words, levels, writes, taken, draws, looks = {}, {}, {}, {}, {}, {}
local W  -- what `watch.lua` can do, where it is asked
local write_of, holds = {}, {}  -- by hash
local home, abroad = tag(KEYS[1]), {}
local fits, covered, poor, over = true, true, false, false
for hash, asked in ipairs(hashes) do
  local key = KEYS[hash + 3]
  local hold, counters, watch = asked[HOLD], asked[COUNTERS], asked[WATCH]
  local ask, write = {'HMGET', key, 'bal', 'held', 'floor'}, {'HSET', key}
  for n = 1, counters do ask[n + 5] = asked[3 * n + 4] end
  if watch then ask[counters + 6] = 'ids' end
  local seen = redis.call(unpack(ask))
  local own = write_of[key] and fields_of(write_of[key])
  write_of[key] = write
  if string.find(key, home, 1, true) ~= 1 then abroad[#abroad + 1] = guests(key) end
  local word, watched = #words, 0
  if hold then
    words[word + 1], words[word + 2] = '-', '0'
    word = word + 2
  end
  for n = 1, counters do
    local name, limit, hard_limit = asked[3 * n + 4], asked[3 * n + 5], asked[3 * n + 6]
    local count = own and own[name] or tonumber(seen[n + 3]) or 0
    words[word + n] = own and digits(count) or seen[n + 3] or '0'
    if name == 'watched' then watched = count end
    if hard_limit and count >= hard_limit then fits = false end
    if limit and count >= limit then over = true end
    write[2 * n + 1], write[2 * n + 2] = name, count + 1
  end
  local overflow = over and '1' or '0'
  if hold then
    if over then hold = asked[HOLD_OVERFLOW] end
    local left, held = available(seen[1], seen[2], seen[3]), holds[key] or 0
    if left and left - held < hold and (hold > 0 or tonumber(seen[3]) == closed) then poor = true end
    holds[key] = held + hold
    if left then levels[#levels + 1] = {word = word - 1, left = left, hash = key} end
    words[word] = overflow
    write[#write + 1] = 'held'
    write[#write + 1] = (tonumber(seen[2]) or 0) + held + hold
    over = false  -- the overflow of a trunk stays set until here: its account is the first level
  end
  for _, source in ipairs(look(key, asked[SOURCES])) do
    if source.held > source.left and source.held > 0 then covered = false end
    draws[#draws + 1] = {hash = key, word = #words + 1, source = source}
    words[#words + 1] = '-'
  end
  if watch then
    W = W or watching()
    local it = W.look(key, seen[counters + 4], watch, watched, mode ~= 'dry')
    it.word, it.write, it.line = #words + 1, write, hash
    looks[#looks + 1] = it
    words[it.word] = '-'
  end
  if #write > 2 then writes[#writes + 1] = write end
  asked[HASH], asked[HELD], asked[OVERFLOW], asked[WATCHED] = key, hold and digits(hold) or '-', overflow, ''
  taken[hash] = asked
end

local exceeded = 0
for rate, per_second in ipairs(rates) do
  local key, attempts = KEYS[#taken + 3 + rate], nil
  if mode == 'dry' then
    attempts = (tonumber(redis.call('GET', key)) or 0) + 1
  else
    attempts = redis.call('INCR', key)
    if attempts == 1 then redis.call('EXPIRE', key, 2) end
  end
  if attempts > per_second and exceeded == 0 then exceeded = rate end
end

local within = true  -- of all thresholds
for _, look in ipairs(looks) do
  if W.refuses(look, not forced and (poor or not covered)) then within = false end
end
local alone = covered and (forced or (not poor and fits and exceeded == 0))  -- nothing else refuses it
local goes = alone and (forced or within)
for _, look in ipairs(looks) do words[look.word] = W.answer(look, goes, alone and mode == 'take') end
for _, level in ipairs(levels) do
  words[level.word] = digits(goes and level.left - holds[level.hash] or level.left)
end
for _, draw in ipairs(draws) do
  words[draw.word] = digits(goes and draw.source.left - draw.source.held or draw.source.left)
end
local answer = (goes and 'T 0 ' or 'R ' .. digits(exceeded) .. ' ') .. table.concat(words, ' ')
if goes and mode == 'take' then
  for _, look in ipairs(looks) do
    local write = look.write
    write[#write + 1] = 'ids'
    write[#write + 1], taken[look.line][WATCHED] = W.add(look)
  end
  for hash, its in ipairs(taken) do
    taken[hash] = line(its[HASH], its[HELD], its[OVERFLOW], its[NAMES], its[SOURCES], its[WATCHED])
  end
  for _, write in ipairs(writes) do redis.call(unpack(write)) end
  for _, draw in ipairs(draws) do draw_more(draw.hash, draw.source, draw.source.held) end
  redis.call('SET', KEYS[1], record(digits(version), nonce, 'live', answer, table.concat(taken), ARGV[2]))
  for _, guest in ipairs(abroad) do redis.call('SADD', guest, KEYS[1]) end
  redis.call('DEL', running(KEYS[1]))  -- of a call whose record was lost
  redis.call('ZADD', KEYS[2], lease, trace_id)
else
  for _, look in ipairs(looks) do W.refused(look) end
end
return answer
