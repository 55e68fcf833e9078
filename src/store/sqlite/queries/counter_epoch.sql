UPDATE counters SET epoch = epoch + 1 RETURNING epoch
