SELECT 1 FROM dependencies LIMIT 1
