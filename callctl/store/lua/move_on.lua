-- Moves CDRs from outboxes into a feed and gives each its sequence, all or nothing. One slot: the feed's.
--
-- KEYS    1 the feed (stream)   2 its place (hash: sequence, at_ms, and per outbox `root:<root>` = last id moved)
-- ARGV    1 how many records the feed keeps at the most, "" for all until they are accepted
--         then per outbox: root, the id it was read after ("" for the beginning), the id it was read up to, n,
--         and n times: account, at_ms, payload (a JSON object)
-- answer  how many records were moved. An outbox that somebody else has moved on meanwhile is left out.

local moved = 0
local sequence = tonumber(redis.call('HGET', KEYS[2], 'sequence') or '0')
local latest_ms = tonumber(redis.call('HGET', KEYS[2], 'at_ms') or '0')
local i = 2
while i <= #ARGV do
  local field, read_after, read_to, n = 'root:' .. ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  i = i + 4
  if (redis.call('HGET', KEYS[2], field) or '') == read_after then
    for j = i, i + 3 * (n - 1), 3 do
      sequence = sequence + 1
      -- Never falling along the feed, so that a moment can be searched for.
      latest_ms = math.max(latest_ms, tonumber(ARGV[j + 1]))
      redis.call('XADD', KEYS[1], string.format('%d-0', sequence), 'account', ARGV[j],
        'at_ms', string.format('%d', latest_ms),
        'payload', string.format('{"sequence":%d,', sequence) .. string.sub(ARGV[j + 2], 2))
    end
    redis.call('HSET', KEYS[2], field, read_to)
    moved = moved + n
  end
  i = i + 3 * n
end
if moved > 0 then
  redis.call('HSET', KEYS[2], 'sequence', string.format('%d', sequence), 'at_ms', string.format('%d', latest_ms))
  if ARGV[1] ~= '' then
    redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
  end
end
return moved
