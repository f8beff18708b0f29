-- How much a feed has not read of some outboxes, and since when it waits. Looks, and changes nothing.
--
-- KEYS    1 the feed's place (`move_on.lua`)   then the outboxes
-- ARGV    1 how many are counted at the most of an outbox that was read in part   then per outbox: its root
-- answer  how many records; where there are any, when the oldest was written (wall ms)

local count, oldest_ms = 0, nil
for number = 2, #KEYS do
  local outbox = KEYS[number]
  local read_to = redis.call('HGET', KEYS[1], 'root:' .. ARGV[number]) or ''
  local behind = read_to == '' and '-' or '(' .. read_to
  local first = redis.call('XRANGE', outbox, behind, '+', 'COUNT', 1)[1]
  if first then
    local in_part = redis.call('XRANGE', outbox, '-', '+', 'COUNT', 1)[1][1] ~= first[1]
    count = count + (in_part and #redis.call('XRANGE', outbox, behind, '+', 'COUNT', ARGV[1]) or redis.call('XLEN', outbox))
    oldest_ms = math.min(oldest_ms or math.huge, tonumber(string.match(first[1], '^%d+')))
  end
end
return {count, oldest_ms}
