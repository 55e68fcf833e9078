-- Tells that a worker lives, by adding it to those that apalis knows, with the queue's own list.
--
--   KEYS  the queue's workers, the worker's metadata
--   ARGV  the worker, seconds that its word is good for
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
redis.call('ZADD', 'core:apalis:queues:list', 'GT', now, KEYS[1])
redis.call('HSET', KEYS[2], 'backend_name', 'RedisStorage', 'service', 'windlass')
return 1
