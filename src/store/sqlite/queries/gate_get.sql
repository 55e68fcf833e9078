SELECT queue, head, tat, opens_at, waiting FROM gates WHERE gate = ?1
