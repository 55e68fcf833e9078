UPDATE tokens SET ends_at = min(?2, coalesce(ends_at, ?2)) WHERE id = ?1
