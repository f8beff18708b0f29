-- What becomes of watched calls that are over, and what operators say of their days (`watch.lua`).

local function watching_all()
  local DAY, SPENT, HELD, ESTIMATED, RELEASED, EXTRA, BASELINE, MOST = 1, 2, 3, 4, 5, 6, 7, 8
  local TRIPPED, TOLD, FREE, HOUR, IN_HOUR, PEAK, CAP, INCIDENT = 9, 10, 11, 12, 13, 14, 15, 16
  local DAYS = 60
  local W = watching()

  -- After the past was changed.
  function W.refresh(hash, day)
    day[BASELINE], day[MOST] = W.statistics(hash, nil, day[DAY])
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
    hour, last = tonumber(hour), tonumber(last)
    local rest, final, more = used or held, days_held[#days_held][1], 0
    for n, of_day in ipairs(days_held) do
      local is_last = n == #days_held
      local part = is_last and rest or math.min(of_day[2], rest)
      rest, more = rest - part, part - of_day[2]
      W.change(hash, kept, of_day[1], more, is_estimate and part or 0, is_last and -last or 0)
    end
    if kept and kept[DAY] == final and kept[HOUR] == hour then
      kept[IN_HOUR] = math.max(0, kept[IN_HOUR] + math.max(more, -last))
    end
    local field = name ~= '-' and redis.call('HGET', W.past(hash), 'to ' .. name)
    local known = field and cmsgpack.unpack(field)
    if known and known[1] == final then
      known[2] = math.max(0, known[2] + more)
      redis.call('HSET', W.past(hash), 'to ' .. name, cmsgpack.pack(known))
    end
    return kept and cmsgpack.pack(kept)
  end

  -- A guess is none any more, and was wrong by so much: on the latest days that have one, up to `number`.
  local function correct(hash, kept, number, more, guessed)
    local latest
    for each = number, number - DAYS + 1, -1 do
      if guessed == 0 then break end
      local known = not (kept and kept[DAY] == each) and redis.call('HGET', W.past(hash), digits(each))
      local day = kept and kept[DAY] == each and kept or known and cmsgpack.unpack(known)
      local part = day and math.min(day[ESTIMATED], guessed) or 0
      if part > 0 then
        local back = math.max(-part, math.min(more, 0))
        W.change(hash, kept, each, back, -part, 0)
        latest, guessed, more = latest or each, guessed - part, more - back
      end
    end
    W.change(hash, kept, latest or number, more, 0, 0)
  end

  -- What came to light later: so much more (or less) of a day, and so much less of it an estimate; or what a call has
  -- used whose holds were lost.
  function W.came_to_light(hash, told)
    local packed = redis.call('HGET', hash, 'ids')
    local kept = packed and cmsgpack.unpack(packed) or nil
    local amount, day, more, guessed = string.match(told, '(%S+) (%S+) (%S+) ?(%S*)')
    if amount == '+' then
      correct(hash, kept, tonumber(day), tonumber(more), tonumber(guessed))
    elseif amount ~= '-' then
      W.change(hash, kept, tonumber(day), tonumber(amount), more == '1' and tonumber(amount) or 0, 0)
    end
    if kept then redis.call('HSET', hash, 'ids', cmsgpack.pack(kept)) end
  end

  -- What was spent so far stops counting.
  function W.release(day, until_ms)
    day[RELEASED], day[TRIPPED], day[TOLD], day[FREE] = day[SPENT] - day[HELD], 0, 0, until_ms
  end

  function W.allow(day, more)
    day[EXTRA], day[TRIPPED], day[TOLD] = day[EXTRA] + more, 0, 0
  end

  -- One day as it is told; nil: as it was. A threshold that nobody knows clips nothing of what is told.
  function W.tell(hash, day, number, told)
    local known = redis.call('HGET', W.past(hash), digits(number))
    local it = day[DAY] == number and day or known and cmsgpack.unpack(known)
    it = it or {number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
    it[SPENT], it[PEAK] = told.spent or it[SPENT], told.peak or it[PEAK]
    it[CAP] = told.cap or (it[CAP] == 0 and told.spent) or it[CAP]
    it[INCIDENT] = told.incident or it[INCIDENT]
    if it ~= day then redis.call('HSET', W.past(hash), digits(number), cmsgpack.pack(it)) end
    local since = tonumber(redis.call('HGET', W.past(hash), 'since'))
    if not since or number < since then redis.call('HSET', W.past(hash), 'since', digits(number)) end
  end

  return W
end
