-- The end of a call: post what it costs, write its CDRs, give back all that its record says it has.
--
-- KEYS  record, live, outbox, where the call is found by its name, per post: the account's hash
-- ARGV  nonce, version that the caller saw, state (ended | refused), seconds to remember it, trace id, session,
--       call, time of the posts (ms), root, seconds to find it by its name, number of posts,
--       per post: id, kind (behind "|" each source that was used, and how much of it), amount as it moves the balance,
--       number of CDRs, per CDR: account, payload,
--       number of accounts with thresholds, per account: its hash, and "<used | -> <day> <estimate 0 | 1>", or of a
--       correction "+ <day> <more> <less of it an estimate>"
-- Answer  S when done; what is remembered when it is not what the caller saw

local nonce, version, state, ttl_s, trace_id, session, call, at_ms, root, name_ttl_s = unpack(ARGV, 1, 10)
local at = 12 + 3 * tonumber(ARGV[11])
at = at + 1 + 2 * tonumber(ARGV[at])
local W = tonumber(ARGV[at]) > 0 and watching_all()
local used = {}
for n = at + 1, at + 2 * tonumber(ARGV[at]), 2 do used[ARGV[n]] = ARGV[n + 1] end

local known = read(KEYS[1])  -- a record that was lost does not keep its call from being paid
if known then
  if known.nonce == nonce then return known.answer end
  local anew = known.state == 'refused' and version == '0'
  local otherwise = known.version ~= version and not anew and remembered(KEYS[1])
  if otherwise then return otherwise end
  for hash, held, _, counters, sources, watched in lines(known) do
    local names = fields(counters, held ~= '-' and 'held' or nil)
    local back = {'HSET', hash}
    if watched ~= '' then
      W = W or watching_all()
      local amount, _, is_estimate = string.match(used[hash] or '0 0 0', '(%S+) (%S+) (%S+)')
      local packed = redis.call('HGET', hash, 'ids')
      local kept = W.over(hash, packed, watched, tonumber(amount), is_estimate == '1')
      if kept then redis.call('HSET', hash, 'ids', kept) end
      used[hash] = nil
    end
    for n, seen in ipairs(redis.call('HMGET', hash, unpack(names))) do
      back[2 * n + 1] = names[n]
      back[2 * n + 2] = digits((tonumber(seen) or 0) - (names[n] == 'held' and tonumber(held) or 1))
    end
    redis.call(unpack(back))
    for _, source in ipairs(look(hash, sources)) do draw_more(hash, source, -source.held) end
    if tag(hash) ~= tag(KEYS[1]) then redis.call('SREM', guests(hash), KEYS[1]) end
  end
end

-- Where an account is now that was at `hash` when it was admitted: what comes to light of a call follows who has moved.
local function home(hash)
  local moved = redis.call('GET', beside(hash, 'g'))
  return moved and home(moved) or hash
end

for hash, told in pairs(used) do W.came_to_light(home(hash), told) end

at = 12
for post = 1, tonumber(ARGV[11]) do
  local hash = home(KEYS[4 + post])
  local kind, used = parted(ARGV[at + 1])
  for source, amount in string.gmatch(used, '(%S+) (%S+)') do
    redis.call('HINCRBY', beside(hash, 'b'), 'bal ' .. source, digits(-tonumber(amount)))
  end
  local balance = redis.call('HINCRBY', hash, 'bal', ARGV[at + 2])
  redis.call('XADD', beside(hash, 'l'), '*', 'id', ARGV[at], 'kind', kind, 'amount', ARGV[at + 2],
    'balance', digits(balance), 'at', at_ms, 'call', call)
  at = at + 3
end
for cdr = at + 1, at + 2 * tonumber(ARGV[at]), 2 do
  redis.call('XADD', KEYS[3], '*', 'account', ARGV[cdr], 'payload', ARGV[cdr + 1])
end
redis.call('SET', KEYS[1], record(digits(version + 1), nonce, state, 'S', '', session), 'EX', ttl_s)
if version == '0' then redis.call('SET', KEYS[4], root, 'EX', name_ttl_s, 'NX') end
redis.call('DEL', running(KEYS[1]))
redis.call('ZREM', KEYS[2], trace_id)
return 'S'
