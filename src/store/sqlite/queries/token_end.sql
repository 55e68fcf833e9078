UPDATE tokens SET told_at = CASE WHEN ?2 < coalesce(ends_at, ?2 + 1) THEN ?3 ELSE told_at END, ends_at = min(?2, coalesce(ends_at, ?2)) WHERE id = ?1
