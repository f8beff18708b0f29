-- Put in front of every script when it is loaded.
--
-- A call's record is lines of text, an empty line, and the session as `call/packing.py` packs it:
--
--   <version> <nonce> <state>                   state: live, ended or refused
--   <answer>                                    what the script that wrote the record answered
--   <hash> <held> <overflow> <counter> ...      one line per account and trunk: what the call has of it there
--
-- `held` is micro-units, "-" for a trunk; `overflow` is 0 or 1. Where the call draws upon bundles or blocks the
-- line goes on with "|" and <source> <allowance> <held> of each; where it counts against spend thresholds, with one
-- more "|" and what `watch.lua` says. What is given back is what these lines say, not what a caller remembers. Their
-- hashes share the record's hash tag, but for those of a called party under another root. An account that pays on both
-- sides of a call has two lines.
-- The nonce is that of the request: seeing it again, a script repeats its answer and does nothing.
--
-- A call is extended again and again, and most of its session never changes. So extend leaves the record alone and
-- writes another beside it, at <key>:run: the same lines, and of the session only what changes while a call runs.
-- Until the call ends that one says how it stands.
--
-- Amounts are doubles here: exact below 2^53, but only `digits` may turn one into text.

local function digits(amount)
  return string.format('%d', amount)
end

local function running(key)
  return key .. ':run'
end

local function parse(text)
  if not text then return nil end
  local version, nonce, state, answer, lines_at = string.match(text, '^(%d+) (%S+) (%S+)\n([^\n]*)\n()')
  return {
    version = version, nonce = nonce, state = state, answer = answer,
    lines = string.sub(text, lines_at, string.find(text, '\n\n', lines_at - 1, true)),
  }
end

-- How the call stands; nil where it is not known.
local function read(key)
  return parse(redis.call('GET', running(key))) or parse(redis.call('GET', key))
end

-- The record and that of its running, for a caller who saw the call otherwise; nil where the record was lost.
local function remembered(key)
  local record = redis.call('GET', key)
  return record and {record, redis.call('GET', running(key)) or nil} or nil
end

local function lines(record)
  return string.gmatch(record.lines, '(%S+) (%S+) (%d)([^|\n]*)|?([^|\n]*)|?([^\n]*)\n')
end

local function line(hash, held, overflow, counters, sources, watched)
  if watched ~= '' then
    counters = counters .. '|' .. sources .. '|' .. watched
  elseif sources ~= '' then
    counters = counters .. '|' .. sources
  end
  return hash .. ' ' .. held .. ' ' .. overflow .. counters .. '\n'
end

local function record(version, nonce, state, answer, lines, session)
  return version .. ' ' .. nonce .. ' ' .. state .. '\n' .. answer .. '\n' .. lines .. '\n' .. session
end

-- The hash tag of a key, with which all that is of one root begins.
local function tag(key)
  return string.match(key, '^{[^}]*}')
end

-- Where a root notes the records of other roots' calls that hold something of an account of its own.
local function guests(hash)
  return tag(hash) .. ':guests'
end

-- The fields `counters` (" a b") names, after those given.
local function fields(counters, ...)
  local names = {...}
  for counter in string.gmatch(counters, '%S+') do names[#names + 1] = counter end
  return names
end

-- What may be spent of an account; nil where nothing limits it.
local function available(bal, held, floor)
  if floor == 'unlimited' then return nil end
  return (tonumber(bal) or 0) - (tonumber(held) or 0) + (tonumber(floor) or 0)
end

-- An argument that may have more behind "|": what stands before it, and that.
local function parted(argument)
  local bar = string.find(argument, '|', 1, true)
  if not bar then return argument, '' end
  return string.sub(argument, 1, bar - 1), string.sub(argument, bar + 1)
end

-- What else there is of an account, by the letter of its key (`keys.py`): "b" is where its sources are counted.
local function beside(hash, letter)
  return (string.gsub(hash, '}:a:', '}:' .. letter .. ':', 1))
end

local NONE = {}

-- Each of `sources` ("<source> <allowance> <held> ...") as it is, and what is left of it.
local function look(hash, sources)
  if sources == '' then return NONE end
  local found = {}
  for name, allowance, held in string.gmatch(sources, '(%S+) (%S+) (%S+)') do
    local bal, all = unpack(redis.call('HMGET', beside(hash, 'b'), 'bal ' .. name, 'held ' .. name), 1, 2)
    found[#found + 1] = {
      name = name, allowance = allowance, held = tonumber(held), left = available(bal, all, allowance),
    }
  end
  return found
end

-- Hold `more` of a source, or give it back.
local function draw_more(hash, source, more)
  if more ~= 0 then redis.call('HINCRBY', beside(hash, 'b'), 'held ' .. source.name, digits(more)) end
end
