-- Hold more for running calls, for each at every level or not at all; save what changes and renew their leases.
-- Each call is judged by itself: what is wrong with one does not keep another from its answer.
--
-- KEYS  per call: record, live
-- ARGV  nonce, then per call: version that the caller saw, force (0 | 1: no limits), lease (ms), trace id, what changes
--       of its session, number of levels, per level: how much more is held; behind "|" the same of each of its sources,
--       then behind "|" what `watch.lua` is asked, in JSON
-- Answer  per call: U when there is no such call; what is remembered when it is not what the caller saw; else words:
--         E (extended) or N (not), per level: available (E: after, N: before; "-": unlimited), left of each source,
--         what `watch.lua` answers, where it was asked; or X and what went wrong

local W  -- what `watch.lua` can do, where it is asked

local function extend(call, at)
  local record_key, nonce = KEYS[2 * call - 1], ARGV[1] .. '.' .. call
  local version, force, lease, trace_id, changes = unpack(ARGV, at, at + 4)
  local known = read(record_key)
  if not known then return 'U' end
  if known.nonce == nonce then return known.answer end
  if known.version ~= version or known.state ~= 'live' then return remembered(record_key) or 'U' end

  local fits, covered, level = true, true, 0
  local before, after, writes, taken, draws, looks = {}, {}, {}, {}, {}, {}
  local mine, levels = {}, {}  -- by hash: how much more the call holds of it, for an account may be there twice
  for hash, held, overflow, counters, sources, watched in lines(known) do
    if held ~= '-' then
      level = level + 1
      local money, asked = parted(ARGV[at + 5 + level])
      local each_more, watch = parted(asked)
      local more = tonumber(money)
      local seen = redis.call('HMGET', hash, 'bal', 'held', 'floor', 'ids')
      local left = available(unpack(seen, 1, 3))
      local so_far = mine[hash] or 0
      if left and more > 0 and left - so_far < more then fits = false end
      mine[hash] = so_far + more
      before[#before + 1] = left and digits(left) or '-'
      after[#after + 1] = '-'
      if left then levels[#levels + 1] = {word = #after, left = left, hash = hash} end
      local write = {'HSET', hash, 'held', digits((tonumber(seen[2]) or 0) + mine[hash])}
      if more ~= 0 or watch ~= '' then writes[#writes + 1] = write end
      held = digits(tonumber(held) + more)
      if sources ~= '' then
        local next_more, kept = string.gmatch(each_more, '%S+'), {}
        for _, source in ipairs(look(hash, sources)) do
          local amount = tonumber(next_more() or '0')
          if amount > 0 and amount > source.left then covered = false end
          before[#before + 1] = digits(source.left)
          after[#after + 1] = digits(source.left - amount)
          draws[#draws + 1] = {hash = hash, source = source, more = amount}
          kept[#kept + 1] = source.name .. ' ' .. source.allowance .. ' ' .. digits(source.held + amount)
        end
        sources = table.concat(kept, ' ')
      end
      if watch ~= '' then
        W = W or watching()
        local it = W.look(hash, seen[4], cjson.decode(watch))
        it.word, it.write, it.line = #before + 1, write, #taken + 1
        looks[#looks + 1] = it
        before[it.word], after[it.word] = '-', '-'
      end
    end
    taken[#taken + 1] = {hash, held, overflow, counters, sources, watched}
  end

  local forced, within = force == '1', true
  for _, it in ipairs(looks) do
    if W.refuses(it, not forced and not (fits and covered)) then within = false end
  end
  local alone = covered and (forced or fits)  -- nothing but thresholds refuses it
  local goes = alone and (forced or within)
  local words = goes and after or before
  for _, it in ipairs(looks) do words[it.word] = W.answer(it, goes, alone) end
  if not goes then
    for _, it in ipairs(looks) do W.refused(it) end
    return 'N ' .. table.concat(before, ' ')
  end
  for _, each in ipairs(levels) do after[each.word] = digits(each.left - mine[each.hash]) end
  local answered = 'E ' .. table.concat(after, ' ')
  for _, it in ipairs(looks) do
    it.write[5] = 'ids'
    it.write[6], taken[it.line][6] = W.add(it, taken[it.line][6])
  end
  for n, of_level in ipairs(taken) do taken[n] = line(unpack(of_level)) end
  for _, write in ipairs(writes) do redis.call(unpack(write)) end
  for _, draw in ipairs(draws) do draw_more(draw.hash, draw.source, draw.more) end
  local record_now = record(digits(version + 1), nonce, 'live', answered, table.concat(taken), changes)
  redis.call('SET', running(record_key), record_now)
  redis.call('ZADD', KEYS[2 * call], lease, trace_id)
  return answered
end

local answers, at = {}, 2
for call = 1, #KEYS / 2 do
  local done, answer = pcall(extend, call, at)
  if not done then answer = 'X ' .. (type(answer) == 'table' and answer.err or tostring(answer)) end
  answers[call] = answer
  at = at + 6 + tonumber(ARGV[at + 5])
end
return answers
