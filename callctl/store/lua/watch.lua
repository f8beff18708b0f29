-- Spend thresholds (`limits/ids.py`, `limits/exposure.py`, which say the same in Python).
--
-- An account's hash keeps its day of watched calls in the field "ids": a msgpack array of `exposure.Day`'s fields.
-- Days before it are in a hash of their own, <tag>:i:<account>, by their number, beside "since" (the first one known)
-- and, per high-risk country, "to <country>" (the day it was called last, spent that day, the day before that).
-- <tag>:w:<account> lists when watched calls were attempted, newest first.
--
-- What a call has of an account's days stands behind the second "|" of its record's line:
--   <country | -> <hour> <last slice> then per day: <day> <amount>
--
-- What it asks comes behind the second "|" of what is held:
--   <amount> <day> <now ms> <country | -> <range> <mode> <whole range> <ceiling | -> <hourly 0 | 1> <concurrent 0 | 1>
--   <range of a new country | -> <attempts per minute | ->
--
-- What is answered of it: rule, refuses (0 | 1), alerts, exposure, average, threshold, the rule's counter, its limit,
-- blocked since (ms)

local function watching()
  local DAY, SPENT, HELD, ESTIMATED, RELEASED, EXTRA, BASELINE, MOST = 1, 2, 3, 4, 5, 6, 7, 8
  local TRIPPED, TOLD, FREE, HOUR, IN_HOUR, PEAK, CAP, INCIDENT = 9, 10, 11, 12, 13, 14, 15, 16
  local DAYS, FEWEST, AT_ONCE, BURST_MS, NOTED = 60, 14, 3, 60000, 1000
  local WARNED = 1
  local ALERT = {threshold = 2, hour = 4, country = 8, concurrent = 16, burst = 32}
  local BY_AMOUNT = {threshold = true, hour = true, country = true}
  local W = {}

  local function past(hash)
    return (string.gsub(hash, '}:a:', '}:i:', 1))
  end

  local function attempts_key(hash)
    return (string.gsub(hash, '}:a:', '}:w:', 1))
  end

  local function whole(a, b)  -- a / b, floored; exact
    return (a - a % b) / b
  end

  function W.asked(text)
    local amount, day, now, country, range, mode, all, ceiling, hourly, concurrent, new, burst = string.match(text,
      '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
    now = tonumber(now)
    return {
      amount = tonumber(amount), day = tonumber(day), now = now, hour = (now - now % 3600000) / 3600000,
      country = country, range = tonumber(range), mode = mode, whole_range = tonumber(all),
      ceiling = tonumber(ceiling), hourly = hourly == '1', concurrent = concurrent == '1', new = tonumber(new),
      burst = tonumber(burst),
    }
  end

  local function limited(limit, ceiling)
    return ceiling and ceiling < limit and ceiling or limit
  end

  local function threshold(day, ask)
    return limited(day[BASELINE] + ask.range, ask.ceiling) + day[EXTRA]
  end

  -- The average of the days before `number`, and the highest number of watched calls at once. `kept`: a day that is
  -- not yet among them.
  local function statistics(hash, kept, number)
    local ask = {'HMGET', past(hash), 'since'}
    for n = 1, DAYS do ask[n + 3] = digits(number - n) end
    local found = redis.call(unpack(ask))
    local since = tonumber(found[1]) or (kept and kept[DAY]) or number
    local counted, spent, most = math.min(number - since, DAYS), 0, 0
    for n = 1, DAYS do
      local day = kept and kept[DAY] == number - n and kept or (found[n + 1] and cmsgpack.unpack(found[n + 1]))
      if day then
        most = math.max(most, day[PEAK])
        if day[INCIDENT] == 1 then counted = counted - 1 else spent = spent + math.min(day[SPENT], day[CAP]) end
      end
    end
    return whole(spent, math.max(counted, FEWEST)), most
  end

  -- The day that is asked for, whether it is another than the one that is kept, and that.
  function W.day(hash, packed, number)
    local kept = packed and cmsgpack.unpack(packed) or nil
    if kept and kept[DAY] == number then return kept, false end
    local known = redis.call('HGET', past(hash), digits(number))
    if known then return cmsgpack.unpack(known), true, kept end
    local average, most = statistics(hash, kept, number)
    return {number, 0, 0, 0, 0, 0, average, most, 0, 0, kept and kept[FREE] or 0, 0, 0, 0, 0, 0}, true, kept
  end

  -- Keep the day. The one before it goes to the past, and who is too old for an average is forgotten.
  function W.keep(hash, day, turned, before)
    if turned then
      local key = past(hash)
      redis.call('HSETNX', key, 'since', digits(before and before[DAY] or day[DAY]))
      if before then redis.call('HSET', key, digits(before[DAY]), cmsgpack.pack(before)) end
      for _, field in ipairs(redis.call('HKEYS', key)) do
        local number = tonumber(field)
        if number and number < day[DAY] - DAYS - 1 then redis.call('HDEL', key, field) end
      end
    end
    return cmsgpack.pack(day)
  end

  -- After the past was changed.
  function W.refresh(hash, day)
    day[BASELINE], day[MOST] = statistics(hash, nil, day[DAY])
  end

  -- What is known of a high-risk country, and what was spent there today if it is new; nil where nobody asks.
  local function country(hash, ask)
    if ask.country == '-' or not ask.new then return nil end
    local field = redis.call('HGET', past(hash), 'to ' .. ask.country)
    local known = field and cmsgpack.unpack(field) or {ask.day, 0}
    if known[1] < ask.day then known = {ask.day, 0, known[1]} end
    local is_new = not known[3] or known[1] - known[3] > DAYS
    return known, is_new and known[2] or nil
  end

  local function count_attempt(hash, ask, is_told)
    if not ask.burst then return nil end
    local key = attempts_key(hash)
    if is_told then
      redis.call('LPUSH', key, digits(ask.now))
      redis.call('LTRIM', key, 0, ask.burst)
      redis.call('PEXPIRE', key, BURST_MS)
    end
    local attempts = is_told and 0 or 1
    for _, at in ipairs(redis.call('LRANGE', key, 0, ask.burst)) do
      if tonumber(at) > ask.now - BURST_MS then attempts = attempts + 1 end
    end
    return attempts
  end

  local function broken(it, in_use, spent_there, attempts)
    local day, ask = it.day, it.ask
    local exposure, limit = day[SPENT] - day[RELEASED], threshold(day, ask)
    if ask.mode == 'hard' and day[TRIPPED] > 0 then return 'blocked', exposure, limit end
    if exposure + ask.amount > limit then return 'threshold', exposure + ask.amount, limit end
    local in_hour = (day[HOUR] == ask.hour and day[IN_HOUR] or 0) + ask.amount
    local per_hour = whole(day[BASELINE], 4) + whole(ask.range, 2)
    if ask.hourly and in_hour > per_hour then return 'hour', in_hour, per_hour end
    if spent_there and spent_there + ask.amount > ask.new then return 'country', spent_there + ask.amount, ask.new end
    local at_once = math.max(AT_ONCE, 2 * day[MOST])
    if ask.concurrent and in_use and in_use + 1 > at_once then return 'concurrent', in_use + 1, at_once end
    if attempts and attempts > ask.burst then return 'burst', attempts, ask.burst end
    return '-', 0, 0
  end

  -- What one payer's thresholds say. `in_use`: watched calls at once; nil for a call that is up already.
  function W.look(hash, packed, text, in_use, counts)
    local it = {hash = hash, ask = W.asked(text)}
    it.day, it.turned, it.before = W.day(hash, packed, it.ask.day)
    local spent_there
    it.country, spent_there = country(hash, it.ask)
    it.in_use = in_use
    local attempts = in_use and count_attempt(hash, it.ask, counts)
    it.rule, it.seen, it.limit = broken(it, in_use, spent_there, attempts)
    it.enforced = it.ask.mode ~= 'monitor' and it.ask.now >= it.day[FREE]
    return it
  end

  -- Whether it refuses the call. `poor`: money does not pay for this slice, and a smaller one may do.
  function W.refuses(it, poor)
    it.decided = it.rule ~= '-' and not (poor and BY_AMOUNT[it.rule])
    it.refusing = it.decided and it.enforced
    return it.refusing
  end

  local function news(it, goes)
    local day, due = it.day, {}
    if it.decided and ALERT[it.rule] then due[ALERT[it.rule]] = true end
    local after = day[SPENT] - day[RELEASED] + (goes and it.ask.amount or 0)
    if 5 * (after - day[BASELINE]) >= 4 * (threshold(day, it.ask) - day[BASELINE]) then due[WARNED] = true end
    local bits = 0
    for bit in pairs(due) do
      if whole(day[TOLD], bit) % 2 == 0 then bits = bits + bit end
    end
    return bits
  end

  -- The words of the answer. `alone`: nothing but thresholds refuses the call, so what is found is to be told.
  function W.answer(words, at, it, goes, alone)
    local day = it.day
    it.news = alone and news(it, goes) or 0
    words[at], words[at + 1], words[at + 2] = it.rule, it.refusing and '1' or '0', digits(it.news)
    words[at + 3] = digits(day[SPENT] - day[RELEASED])
    words[at + 4], words[at + 5] = digits(day[BASELINE]), digits(threshold(day, it.ask))
    words[at + 6], words[at + 7], words[at + 8] = digits(it.seen), digits(it.limit), digits(day[TRIPPED])
  end

  -- What was told, and the threshold that clips the day later on. Answers the day as it is to be kept.
  local function noted(it)
    local day = it.day
    day[TOLD] = day[TOLD] + it.news
    day[CAP] = limited(day[BASELINE] + it.ask.whole_range, it.ask.ceiling)
    if it.news > 0 then
      redis.call('XADD', W.notes(it.hash), 'MAXLEN', '~', NOTED, '*', 'at', digits(it.ask.now), 'what', 'alert',
        'alerts', digits(it.news), 'exposure', digits(day[SPENT] - day[RELEASED]), 'average', digits(day[BASELINE]),
        'threshold', digits(threshold(day, it.ask)), 'asked', digits(it.ask.amount))
    end
    return W.keep(it.hash, day, it.turned, it.before)
  end

  -- A refusal leaves the trip behind, and what was told.
  function W.refused(it)
    if it.refusing and it.rule == 'threshold' and it.day[TRIPPED] == 0 then it.day[TRIPPED] = it.ask.now end
    redis.call('HSET', it.hash, 'ids', noted(it))
  end

  -- Count a slice that is held; the one before it (`text`: of the line) is used up. A negative one makes that smaller.
  -- Answers the day as it is to be kept, and the line's text.
  function W.add(it, text)
    local day, ask, hour, last, earlier, on, there = it.day, it.ask, it.ask.hour, 0, '', nil, 0
    if text then
      local _, was_at, was, days, last_day, amount = string.match(text, '^(%S+) (%S+) (%S+) (.-)(%S+) (%S+)$')
      hour, last, earlier, on, there = tonumber(was_at), tonumber(was), days, tonumber(last_day), tonumber(amount)
    end
    if ask.amount < 0 then
      if on == day[DAY] then
        local back = math.min(last, -ask.amount)
        last, there = last - back, there - back
        day[SPENT], day[HELD] = day[SPENT] - back, day[HELD] - back
        if day[HOUR] == hour then day[IN_HOUR] = math.max(0, day[IN_HOUR] - back) end
      end
    else
      if on == day[DAY] then
        day[HELD] = day[HELD] - last
      elseif on then
        earlier, there = earlier .. digits(on) .. ' ' .. digits(there) .. ' ', 0
      end
      on, there, last, hour = day[DAY], there + ask.amount, ask.amount, ask.hour
      day[SPENT], day[HELD] = day[SPENT] + last, day[HELD] + last
      day[IN_HOUR] = last + (day[HOUR] == hour and day[IN_HOUR] or 0)
      day[HOUR] = hour
      if it.in_use then day[PEAK] = math.max(day[PEAK], it.in_use + 1) end
      if it.country then
        it.country[2] = it.country[2] + last
        redis.call('HSET', past(it.hash), 'to ' .. ask.country, cmsgpack.pack(it.country))
      end
    end
    local name = it.country and ask.country or '-'
    local kept = name .. ' ' .. digits(hour) .. ' ' .. digits(last) .. ' ' .. earlier .. digits(on) .. ' ' .. digits(there)
    return noted(it), kept
  end

  -- A day of the past, or the one that is kept, changes by so much.
  local function change(hash, kept, number, amount, estimated)
    if kept and kept[DAY] == number then
      kept[SPENT], kept[ESTIMATED] = kept[SPENT] + amount, math.max(0, kept[ESTIMATED] + estimated)
      return
    end
    if amount == 0 and estimated == 0 then return end
    local known = redis.call('HGET', past(hash), digits(number))
    local day = known and cmsgpack.unpack(known) or {number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, amount, 0}
    day[SPENT], day[ESTIMATED] = day[SPENT] + amount, math.max(0, day[ESTIMATED] + estimated)
    redis.call('HSET', past(hash), digits(number), cmsgpack.pack(day))
  end

  -- The call is over. `text`: of its line; `used`: what it has used in all, nil where nobody knows and all of it stays.
  -- Answers the day as it is to be kept.
  function W.over(hash, packed, text, used, is_estimate)
    local kept = packed and cmsgpack.unpack(packed) or nil
    local name, hour, last, days = string.match(text, '^(%S+) (%S+) (%S+) (.*)$')
    local days_held, held = {}, 0
    for day, amount in string.gmatch(days, '(%S+) (%S+)') do
      days_held[#days_held + 1] = {tonumber(day), tonumber(amount)}
      held = held + tonumber(amount)
    end
    used = used or held
    local rest, final, more = used, days_held[#days_held][1], 0
    for n, of_day in ipairs(days_held) do
      local part = n == #days_held and rest or math.min(of_day[2], rest)
      rest, more = rest - part, part - of_day[2]
      change(hash, kept, of_day[1], more, is_estimate and part or 0)
    end
    if kept and kept[DAY] == final then
      kept[HELD] = kept[HELD] - tonumber(last)
      if kept[HOUR] == tonumber(hour) then
        kept[IN_HOUR] = math.max(0, kept[IN_HOUR] + math.max(more, -tonumber(last)))
      end
    end
    local field = name ~= '-' and redis.call('HGET', past(hash), 'to ' .. name)
    local known = field and cmsgpack.unpack(field)
    if known and known[1] == final then
      known[2] = math.max(0, known[2] + more)
      redis.call('HSET', past(hash), 'to ' .. name, cmsgpack.pack(known))
    end
    return kept and cmsgpack.pack(kept)
  end

  -- What came to light later: so much more (or less) of a day, and so much less of it an estimate.
  function W.corrected(hash, number, more, guessed)
    local packed = redis.call('HGET', hash, 'ids')
    local kept = packed and cmsgpack.unpack(packed) or nil
    change(hash, kept, number, more, -guessed)
    if kept then redis.call('HSET', hash, 'ids', cmsgpack.pack(kept)) end
  end

  -- Where alerts, and what operators did, are noted.
  function W.notes(hash)
    return (string.gsub(hash, '}:a:', '}:n:', 1))
  end

  -- What was spent so far stops counting.
  function W.release(day, until_ms)
    day[RELEASED], day[TRIPPED], day[TOLD], day[FREE] = day[SPENT] - day[HELD], 0, 0, until_ms
  end

  function W.allow(day, more)
    day[EXTRA], day[TRIPPED], day[TOLD] = day[EXTRA] + more, 0, 0
  end

  -- One day as it is told; nil: as it was.
  function W.tell(hash, day, number, told)
    local known = redis.call('HGET', past(hash), digits(number))
    local it = day[DAY] == number and day or known and cmsgpack.unpack(known)
    it = it or {number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, told.spent or 0, 0}
    it[SPENT], it[CAP], it[PEAK] = told.spent or it[SPENT], told.cap or it[CAP], told.peak or it[PEAK]
    it[INCIDENT] = told.incident or it[INCIDENT]
    if it ~= day then redis.call('HSET', past(hash), digits(number), cmsgpack.pack(it)) end
    local since = tonumber(redis.call('HGET', past(hash), 'since'))
    if not since or number < since then redis.call('HSET', past(hash), 'since', digits(number)) end
  end

  return W
end
