-- Hold more for running calls, for each at every level or not at all; save what changes and renew their leases.
-- Each call is judged by itself: what is wrong with one does not keep another from its answer.
--
-- KEYS  per call: its record
-- ARGV  nonce; in msgpack per call an array: the key of its root's leases, the version that the caller saw, whether
--       there are no limits, lease (ms), trace id, and an array of how much more is held at each level (where any asks
--       for more than money an array of that, the same of each of its sources, and what `watch.lua` is asked, or false);
--       then per call what changes of its session
-- Answer  per call: U when there is no such call; what is remembered when it is not what the caller saw; else words:
--         E (extended) or N (not), per level: available (E: after, N: before; "-": unlimited), left of each source,
--         what `watch.lua` answers, where it was asked; or X and what went wrong

local W  -- what `watch.lua` can do, where it is asked
local HASH, HELD, REST, MORE, LEFT, SOURCES, WATCH = 1, 2, 3, 4, 5, 6, 7  -- of a level: its line as it will be, and more

-- What a line says behind `held`: counters (and overflow), sources, and what is watched.
local function behind(rest)
  return string.match(rest, '^([^|]*)|?([^|]*)|?(.*)$')
end

-- The rest of a line when its sources are drawn upon by `draws` more; those, and whether there is enough of each.
local function drawing(hash, rest, draws)
  local counters, sources, watched = behind(rest)
  if sources == '' then return rest, NONE, true end
  local found, kept, covered = look(hash, sources), {}, true
  for n, source in ipairs(found) do
    source.more = draws[n] or 0
    if source.more > 0 and source.more > source.left then covered = false end
    kept[n] = source.name .. ' ' .. source.allowance .. ' ' .. digits(source.held + source.more)
  end
  return counters .. '|' .. table.concat(kept, ' ') .. (watched ~= '' and '|' .. watched or ''), found, covered
end

-- The rest of a line when the slice that is asked for is counted.
local function counted(hash, rest, watch)
  local counters, sources, watched = behind(rest)
  local day
  day, watched = W.add(watch, watched)
  redis.call('HSET', hash, 'ids', day)
  return counters .. '|' .. sources .. '|' .. watched
end

local function extend(call, asked)
  local record_key, nonce = KEYS[call], ARGV[1] .. '.' .. call
  local live, version, forced, lease, trace_id, asked_more = unpack(asked)
  local known = read(record_key)
  if not known then return 'U' end
  if known.nonce == nonce then return known.answer end
  if tonumber(known.version) ~= version or known.state ~= 'live' then return remembered(record_key) or 'U' end

  local fits, covered, within = true, true, true
  local levels, taken = {}, ''
  local mine = {}  -- by hash: how much more the call holds of it, for an account may be there twice
  for hash, held, rest in string.gmatch(known.lines, '(%S+) (%S+)( [^\n]*)\n') do
    if held == '-' then  -- a trunk, which stands in front
      taken = hash .. ' ' .. held .. rest .. '\n'
    else
      local more, draws, ask, sources, watch = asked_more[#levels + 1], NONE, false, NONE, nil
      if type(more) == 'table' then more, draws, ask = unpack(more) end
      local bal, all, floor = unpack(redis.call('HMGET', hash, 'bal', 'held', 'floor'), 1, 3)
      local left, so_far = available(bal, all, floor), mine[hash] or 0
      if left and more > 0 and left - so_far < more then fits = false end
      mine[hash] = so_far + more
      if string.find(rest, '|', 1, true) then
        local enough
        rest, sources, enough = drawing(hash, rest, draws)
        covered = covered and enough
      end
      if ask then
        W = W or watching()
        watch = W.look(hash, redis.call('HGET', hash, 'ids'), ask)
      end
      levels[#levels + 1] = {hash, digits(held + more), rest, more, left, sources, watch}
    end
  end

  for _, level in ipairs(levels) do
    if level[WATCH] and W.refuses(level[WATCH], not forced and not (fits and covered)) then within = false end
  end
  local alone = covered and (forced or fits)  -- nothing but thresholds refuses it
  local goes = alone and (forced or within)
  local answer = goes and 'E' or 'N'
  for _, level in ipairs(levels) do
    local left, watch = level[LEFT], level[WATCH]
    answer = answer .. ' ' .. (left and digits(goes and left - mine[level[HASH]] or left) or '-')
    for _, source in ipairs(level[SOURCES]) do
      answer = answer .. ' ' .. digits(goes and source.left - source.more or source.left)
    end
    if watch then answer = answer .. ' ' .. W.answer(watch, goes, alone) end
    if watch and not goes then W.refused(watch) end
  end
  if not goes then return answer end

  for _, level in ipairs(levels) do
    local hash, held, rest, more, _, sources, watch = unpack(level, HASH, WATCH)
    if watch then rest = counted(hash, rest, watch) end
    if more ~= 0 then redis.call('HINCRBY', hash, 'held', digits(more)) end
    for _, source in ipairs(sources) do draw_more(hash, source, source.more) end
    taken = taken .. hash .. ' ' .. held .. rest .. '\n'
  end
  redis.call('SET', running(record_key), record(digits(version + 1), nonce, 'live', answer, taken, ARGV[2 + call]))
  redis.call('ZADD', live, digits(lease), trace_id)
  return answer
end

local answers = {}
for call, asked in ipairs(cmsgpack.unpack(ARGV[2])) do
  local done, answer = pcall(extend, call, asked)
  if not done then answer = 'X ' .. (type(answer) == 'table' and answer.err or tostring(answer)) end
  answers[call] = answer
end
return answers
