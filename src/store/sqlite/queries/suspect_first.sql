SELECT pos, seq, line, gate FROM suspects WHERE queue = ?1 ORDER BY pos LIMIT 1
