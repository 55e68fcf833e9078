SELECT gate FROM gates WHERE opens_at IS NOT NULL AND opens_at <= ?1 ORDER BY opens_at LIMIT ?2
