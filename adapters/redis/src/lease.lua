-- Takes tokens out of one bucket, as many as there are, up to those that are asked for.
--
-- KEYS[1] the bucket. ARGV: tokens that come in each period, the period in microseconds, tokens that the
-- bucket holds, tokens that are asked for. Gives the tokens taken, and, if they are fewer, how many
-- microseconds it takes until there is another one.
--
-- A bucket is kept as what is missing in it, and when that was so. Each microsecond brings `count` units of
-- it, and a token is `period` units: whole numbers below 2^52, so that nothing is ever rounded. One that
-- is full is not kept.
local count, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local burst, asked = tonumber(ARGV[3]), tonumber(ARGV[4])
local full = burst * period

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local missing, at = 0, now
local kept = redis.call('GET', KEYS[1])
if kept then
  local m, p, a = string.match(kept, '^(%d+) (%d+) (%d+)$')
  if not m then
    return redis.error_reply('ERR no bucket of sinew: ' .. KEYS[1])
  end
  missing, at = tonumber(m), tonumber(a)
  if tonumber(p) ~= period then
    -- The quota is another one since: as many tokens are missing as before.
    missing = math.ceil(missing / tonumber(p) * period)
  end
end
-- A clock that went back brings nothing, and goes on from there.
local brought = math.max(0, now - at) * count
missing = math.min(math.max(0, missing - brought), full)

local taken = math.min(asked, math.floor((full - missing) / period))
if taken > 0 or at > now then
  missing = missing + taken * period
  local expires = math.ceil(missing / count / 1000) + 1
  local bucket = string.format('%.0f %.0f %.0f', missing, period, now)
  redis.call('SET', KEYS[1], bucket, 'PX', string.format('%.0f', expires))
end
if taken == asked then
  return {taken, 0}
end
return {taken, math.ceil((missing + period - full) / count)}
