-- Take channels and money at every level, or nothing.
--
-- KEYS  record, live, the hash of the trunk if there is one, of each level, one counter per rate
-- ARGV  nonce, version of the record to write, mode (take | probe | dry), force (0 | 1: no limits), lease (ms),
--       trace id, session, number of hashes, per hash: hold ("-": a trunk; more than money: "|" and a line's sources
--                                             behind it, then "|" and what `watch.lua` is asked), hold with overflow,
--                                             number of counters, per counter: name, limit, hard limit (both "" where
--                                             there is none),
--       number of rates, per rate: attempts per second
-- Answer  what is remembered of a call that is known already, else words:
--         T (taken) or R (refused), the first rate that is used up (0: none),
--         per hash: what is available (T: after, R: before; "-": unlimited), overflow (0 | 1),
--                   in use per counter, this call not counted. A trunk has the last only.
--                   Then what is left of each source (T: after, R: before), which no force takes more than, and
--                   what `watch.lua` answers, as it was before.

local nonce, version, mode, force, lease, trace_id, session = unpack(ARGV, 1, 7)
local known = parse(redis.call('GET', KEYS[1]))
if known and known.state ~= 'refused' then
  return known.nonce == nonce and known.answer or remembered(KEYS[1])
end

local fits = true
local words, levels, writes, taken, draws, looks = {}, {}, {}, {}, {}, {}
local W  -- what `watch.lua` can do, where it is asked
local mine = {}  -- by hash: what the call takes of it, for an account may be there twice
local home, abroad = tag(KEYS[1]), {}
local covered, poor = true, false
local at = 9
local over = false
for hash = 1, tonumber(ARGV[8]) do
  local key, hold_overflow, counters = KEYS[hash + 2], ARGV[at + 1], tonumber(ARGV[at + 2])
  local hold, asked = parted(ARGV[at])
  local sources, watch = parted(asked)
  local ask, write, names = {'HMGET', key, 'bal', 'held', 'floor'}, {'HSET', key}, ''
  for n = 1, counters do
    ask[n + 5] = ARGV[at + 3 * n]
    names = names .. ' ' .. ask[n + 5]
  end
  if watch ~= '' then ask[counters + 6] = 'ids' end
  local seen = redis.call(unpack(ask))
  local in_use, took, watched = {}, mine[key] or {}, nil
  mine[key] = took
  if string.sub(key, 1, #home) ~= home then abroad[#abroad + 1] = guests(key) end
  for n = 1, counters do
    local limit, hard_limit = tonumber(ARGV[at + 3 * n + 1]), tonumber(ARGV[at + 3 * n + 2])
    in_use[n] = seen[n + 3] or '0'
    local count = tonumber(in_use[n])
    if took[ask[n + 5]] then
      count = count + took[ask[n + 5]]
      in_use[n] = digits(count)
    end
    took[ask[n + 5]] = (took[ask[n + 5]] or 0) + 1
    if ask[n + 5] == 'watched' then watched = count end
    if hard_limit and count >= hard_limit then fits = false end
    if limit and count >= limit then over = true end
    write[2 * n + 1], write[2 * n + 2] = ask[n + 5], digits(count + 1)
  end
  local overflow = over and '1' or '0'
  if hold ~= '-' then
    if over then hold = hold_overflow end
    local amount, left = tonumber(hold), available(seen[1], seen[2], seen[3])
    local held = took[' '] or 0  -- no counter has this name
    if left and amount > 0 and left - held < amount then poor = true end
    took[' '] = held + amount
    levels[#levels + 1] = {word = #words + 1, left = left, took = took}
    words[#words + 1] = '-'
    words[#words + 1] = overflow
    write[#write + 1] = 'held'
    write[#write + 1] = digits((tonumber(seen[2]) or 0) + held + amount)
    over = false  -- the overflow of a trunk stays set until here: its account is the first level
  end
  for n = 1, counters do words[#words + 1] = in_use[n] end
  for _, source in ipairs(look(key, sources)) do
    if source.held > source.left and source.held > 0 then covered = false end
    draws[#draws + 1] = {hash = key, word = #words + 1, source = source}
    words[#words + 1] = '-'
  end
  local it
  if watch ~= '' then
    W = W or watching()
    it = W.look(key, seen[counters + 4], watch, watched or 0, mode ~= 'dry')
    it.word, it.write, it.line = #words + 1, write, hash
    looks[#looks + 1] = it
    words[it.word] = '-'
  end
  if #write > 2 then writes[#writes + 1] = write end
  taken[hash] = {key, hold, overflow, names, sources, ''}
  at = at + 3 + 3 * counters
end

local exceeded = 0
for rate = 1, tonumber(ARGV[at]) do
  local key, attempts = KEYS[#taken + 2 + rate], nil
  if mode == 'dry' then
    attempts = (tonumber(redis.call('GET', key)) or 0) + 1
  else
    attempts = redis.call('INCR', key)
    if attempts == 1 then redis.call('EXPIRE', key, 2) end
  end
  if attempts > tonumber(ARGV[at + rate]) and exceeded == 0 then exceeded = rate end
end

local forced = force == '1'
local within = true  -- of all thresholds
for _, look in ipairs(looks) do
  if W.refuses(look, not forced and (poor or not covered)) then within = false end
end
local alone = covered and (forced or (not poor and fits and exceeded == 0))  -- nothing else refuses it
local goes = alone and (forced or within)
for _, look in ipairs(looks) do words[look.word] = W.answer(look, goes, alone and mode == 'take') end
for _, level in ipairs(levels) do
  if level.left then words[level.word] = digits(goes and level.left - level.took[' '] or level.left) end
end
for _, draw in ipairs(draws) do
  words[draw.word] = digits(goes and draw.source.left - draw.source.held or draw.source.left)
end
local answer = (goes and 'T 0 ' or 'R ' .. digits(exceeded) .. ' ') .. table.concat(words, ' ')
if goes and mode == 'take' then
  for _, look in ipairs(looks) do
    local write = look.write
    write[#write + 1] = 'ids'
    write[#write + 1], taken[look.line][6] = W.add(look)
  end
  for hash, of_hash in ipairs(taken) do taken[hash] = line(unpack(of_hash)) end
  for _, write in ipairs(writes) do redis.call(unpack(write)) end
  for _, draw in ipairs(draws) do draw_more(draw.hash, draw.source, draw.source.held) end
  redis.call('SET', KEYS[1], record(version, nonce, 'live', answer, table.concat(taken), session))
  for _, guest in ipairs(abroad) do redis.call('SADD', guest, KEYS[1]) end
  redis.call('DEL', running(KEYS[1]))  -- of a call whose record was lost
  redis.call('ZADD', KEYS[2], lease, trace_id)
else
  for _, look in ipairs(looks) do W.refused(look) end
end
return answer
