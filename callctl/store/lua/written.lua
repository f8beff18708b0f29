-- How a definition is written (`define.lua`, `put_account.lua`). All of them are in one slot: that of {definitions}.
--
-- KEYS  1 revision   2 what was written at which revision (zset: <kind>:<id>)

-- Whether nobody has written any since the writer looked.
local function is_latest(revision)
  return (redis.call('GET', KEYS[1]) or '0') == revision
end

-- The new revision. `hash`: that of the kind.
local function write(hash, kind, id, value)
  local revision = redis.call('INCR', KEYS[1])
  redis.call('ZADD', KEYS[2], revision, kind .. ':' .. id)
  redis.call('HSET', hash, id, value)
  return revision
end
