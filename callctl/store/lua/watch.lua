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
-- What it asks is an array of what the names from AMOUNT on say, false where nothing limits it. It comes in JSON.
--
-- What else there is to a day stands in `watched.lua`, which an admission does not need.
--
-- What is answered of it: rule, refuses (0 | 1), alerts, exposure, average, threshold, the rule's counter, its limit,
-- blocked since (ms)

local function watching()
  local DAY, SPENT, HELD, ESTIMATED, RELEASED, EXTRA, BASELINE, MOST = 1, 2, 3, 4, 5, 6, 7, 8
  local TRIPPED, TOLD, FREE, HOUR, IN_HOUR, PEAK, CAP, INCIDENT = 9, 10, 11, 12, 13, 14, 15, 16
  local AMOUNT, ON, NOW, RANGE, COUNTRY = 1, 2, 3, 4, 5
  local MODE, WHOLE_RANGE, CEILING, HOURLY, CONCURRENT, NEW_COUNTRY, ATTEMPTS = 6, 7, 8, 9, 10, 11, 12
  local DAYS, FEWEST, AT_ONCE, HOUR_MS, BURST_MS, NOTED = 60, 14, 3, 3600000, 60000, 1000
  local WARNED, TRIP = 1, 2
  local ALERT = {threshold = TRIP, hour = 4, country = 8, concurrent = 16, burst = 32}
  local BY_AMOUNT = {threshold = true, hour = true, country = true}
  local ANSWER = '%s %s %d %d %d %d %d %d %d'
  local W = {}

  local function past(hash)
    return (string.gsub(hash, '}:a:', '}:i:', 1))
  end
  W.past = past

  local function attempts_key(hash)
    return (string.gsub(hash, '}:a:', '}:w:', 1))
  end

  local function whole(a, b)  -- a / b, floored; exact
    return (a - a % b) / b
  end

  local function limited(limit, ceiling)
    return ceiling and ceiling < limit and ceiling or limit
  end

  -- The average of the days before `number`, and the highest number of watched calls at once. `kept`: a day that is
  -- not yet among them.
  function W.statistics(hash, kept, number)
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
    local day = known and cmsgpack.unpack(known)
      or {number, 0, 0, 0, 0, 0, 0, 0, 0, 0, kept and kept[FREE] or 0, 0, 0, 0, 0, 0}
    day[BASELINE], day[MOST] = W.statistics(hash, kept, number)
    return day, true, kept
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

  -- What is known of a high-risk country, and what was spent there today if it is new; nil where nobody asks.
  local function country(hash, ask)
    if not ask[COUNTRY] or not ask[NEW_COUNTRY] then return nil end
    local field = redis.call('HGET', past(hash), 'to ' .. ask[COUNTRY])
    local known = field and cmsgpack.unpack(field) or {ask[ON], 0}
    if known[1] < ask[ON] then known = {ask[ON], 0, known[1]} end
    local is_new = not known[3] or known[1] - known[3] > DAYS
    return known, is_new and known[2] or nil
  end

  local function count_attempt(hash, ask, is_counted)
    local most, now = ask[ATTEMPTS], ask[NOW]
    if not most then return nil end
    local key = attempts_key(hash)
    if is_counted then
      redis.call('LPUSH', key, digits(now))
      redis.call('LTRIM', key, 0, most)
      redis.call('PEXPIRE', key, BURST_MS)
    end
    local attempts = is_counted and 0 or 1  -- a look sees as many as the attempt itself will
    for _, at in ipairs(redis.call('LRANGE', key, 0, most - attempts)) do
      if tonumber(at) > now - BURST_MS then attempts = attempts + 1 end
    end
    return attempts
  end

  -- The first rule that is broken, its counter, and its limit. Who asks for less than before breaks none.
  local function broken(it, spent_there, attempts)
    local day, ask, amount, limit = it.day, it.ask, it.ask[AMOUNT], it.threshold
    local exposure = day[SPENT] - day[RELEASED]
    if amount < 0 then return '-', 0, 0 end
    if day[TRIPPED] > 0 and ask[MODE] == 'hard' then return 'blocked', exposure, limit end
    if exposure + amount > limit then return 'threshold', exposure + amount, limit end
    if ask[HOURLY] then
      local in_hour = amount + (day[HOUR] == whole(ask[NOW], HOUR_MS) and day[IN_HOUR] or 0)
      local per_hour = whole(day[BASELINE], 4) + whole(ask[RANGE], 2)
      if in_hour > per_hour then return 'hour', in_hour, per_hour end
    end
    if spent_there and spent_there + amount > ask[NEW_COUNTRY] then
      return 'country', spent_there + amount, ask[NEW_COUNTRY]
    end
    if ask[CONCURRENT] and it.in_use then
      local at_once = math.max(AT_ONCE, 2 * day[MOST])
      if it.in_use + 1 > at_once then return 'concurrent', it.in_use + 1, at_once end
    end
    if attempts and attempts > ask[ATTEMPTS] then return 'burst', attempts, ask[ATTEMPTS] end
    return '-', 0, 0
  end

  -- What one payer's thresholds say. `in_use`: watched calls at once; nil for a call that is up already.
  function W.look(hash, packed, ask, in_use, is_counted)
    local day, turned, before = W.day(hash, packed, ask[ON])
    local it = {  -- with room for all that is found out about it: a table that grows is copied
      hash = hash, ask = ask, day = day, turned = turned, before = before, in_use = in_use,
      threshold = limited(day[BASELINE] + ask[RANGE], ask[CEILING]) + day[EXTRA],
      country = false, rule = '-', seen = 0, limit = 0, refusing = false, news = 0, word = 0, write = false, line = 0,
    }
    local spent_there
    it.country, spent_there = country(hash, ask)
    it.rule, it.seen, it.limit = broken(it, spent_there, in_use and count_attempt(hash, ask, is_counted))
    return it
  end

  -- Whether it refuses the call. `poor`: money does not pay for this slice, and a smaller one may do.
  function W.refuses(it, poor)
    it.refusing = it.rule ~= '-' and not (poor and BY_AMOUNT[it.rule]) and it.ask[MODE] ~= 'monitor'
      and it.ask[NOW] >= it.day[FREE]
    return it.refusing
  end

  -- The alerts that are due and were not told today. The trip is told whenever it happens, though the threshold may
  -- have been broken before: by a call that was let pass.
  local function news(it, goes)
    local day, due = it.day, ALERT[it.rule] or 0
    local after = day[SPENT] - day[RELEASED] + (goes and it.ask[AMOUNT] or 0)
    if 5 * (after - day[BASELINE]) >= 4 * (it.threshold - day[BASELINE]) then due = due + WARNED end
    if due > 0 then due = bit.band(due, bit.bnot(day[TOLD])) end
    if it.rule == 'threshold' and it.refusing and day[TRIPPED] == 0 then due = bit.bor(due, TRIP) end
    return due
  end

  -- What is answered, as words. `tells`: nothing but thresholds refuses the call, so what is found is to be told.
  function W.answer(it, goes, tells)
    local day = it.day
    it.news = tells and news(it, goes) or 0
    return string.format(ANSWER, it.rule, it.refusing and '1' or '0', it.news, day[SPENT] - day[RELEASED],
      day[BASELINE], it.threshold, it.seen, it.limit, day[TRIPPED])
  end

  -- The trip, what was told, and the threshold that clips the day later on. Answers the day as it is to be kept.
  local function noted(it)
    local day, ask = it.day, it.ask
    day[CAP] = limited(day[BASELINE] + ask[WHOLE_RANGE], ask[CEILING])
    if it.news > 0 then
      if it.refusing and bit.band(it.news, TRIP) > 0 then day[TRIPPED] = ask[NOW] end
      day[TOLD] = bit.bor(day[TOLD], it.news)
      redis.call('XADD', W.notes(it.hash), 'MAXLEN', '~', NOTED, '*', 'at', digits(ask[NOW]), 'what', 'alert',
        'alerts', digits(it.news), 'exposure', digits(day[SPENT] - day[RELEASED]), 'average', digits(day[BASELINE]),
        'threshold', digits(it.threshold), 'asked', digits(ask[AMOUNT]))
    end
    return W.keep(it.hash, day, it.turned, it.before)
  end

  -- A refusal leaves behind what was told.
  function W.refused(it)
    if it.news > 0 then redis.call('HSET', it.hash, 'ids', noted(it)) end
  end

  -- A day of the past, or the one that is kept, changes by so much. What was released of it is settled in any case.
  function W.change(hash, kept, number, spent, estimated, held)
    local day = kept and kept[DAY] == number and kept
    if not day and spent == 0 and estimated == 0 and held == 0 then return end
    if not day then
      local known = redis.call('HGET', past(hash), digits(number))
      day = known and cmsgpack.unpack(known) or {number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, spent, 0}
    end
    day[SPENT], day[ESTIMATED] = day[SPENT] + spent, math.max(0, day[ESTIMATED] + estimated)
    day[HELD] = math.max(0, day[HELD] + held)
    day[RELEASED] = math.min(day[RELEASED], day[SPENT] - day[HELD])
    if day ~= kept then redis.call('HSET', past(hash), digits(number), cmsgpack.pack(day)) end
  end

  -- Count a slice that is held; the one before it (`text`: of the line) is used up. A negative one makes that smaller.
  -- Answers the day as it is to be kept, and the line's text.
  function W.add(it, text)
    local day, ask, amount = it.day, it.ask, it.ask[AMOUNT]
    local hour, last, earlier, on, there = 0, 0, '', nil, 0
    if text and text ~= '' then  -- it was watched before
      local _, was_at, was, days, last_day, so_far = string.match(text, '^(%S+) (%S+) (%S+) (.-)(%S+) (%S+)$')
      hour, last, earlier = tonumber(was_at), tonumber(was), days
      on, there = tonumber(last_day), tonumber(so_far)
    end
    if amount < 0 then
      if on == day[DAY] then
        local back = math.min(last, -amount)
        last, there = last - back, there - back
        day[SPENT], day[HELD] = day[SPENT] - back, day[HELD] - back
        if day[HOUR] == hour then day[IN_HOUR] = math.max(0, day[IN_HOUR] - back) end
      end
    else
      if on == day[DAY] then
        day[HELD] = day[HELD] - last
      elseif on then
        W.change(it.hash, it.before, on, 0, 0, -last)
        earlier, there = string.format('%s%d %d ', earlier, on, there), 0
      end
      on, there, last, hour = day[DAY], there + amount, amount, whole(ask[NOW], HOUR_MS)
      day[SPENT], day[HELD] = day[SPENT] + amount, day[HELD] + amount
      day[IN_HOUR] = amount + (day[HOUR] == hour and day[IN_HOUR] or 0)
      day[HOUR] = hour
      if ask[CONCURRENT] and it.in_use and it.in_use >= day[PEAK] then day[PEAK] = it.in_use + 1 end
      if it.country then
        it.country[2] = it.country[2] + amount
        redis.call('HSET', past(it.hash), 'to ' .. ask[COUNTRY], cmsgpack.pack(it.country))
      end
    end
    local kept = string.format('%s %d %d %s%d %d', it.country and ask[COUNTRY] or '-', hour, last, earlier, on, there)
    return noted(it), kept
  end

  -- Where alerts, and what operators did, are noted.
  function W.notes(hash)
    return (string.gsub(hash, '}:a:', '}:n:', 1))
  end

  return W
end
