-- Windlass on Postgres, step 2: what producers call, in their own transactions. Commit and the job is there, roll back and
-- it never was.
--
--   SELECT windlass.enqueue('email.send', '{"to": "a@example.com"}', '{"queue": "mail", "unique_key": "welcome:7"}');
--   SELECT windlass.enqueue_many('[{"kind": "a", "payload": 1}, {"kind": "b", "payload": 2}]');
--
-- Errors have SQLSTATEs of their own; the message is the sentence that every door gives, DETAIL is JSON.
--
--   WLE01 too_large         WLE02 unknown_member    WLE03 wrong_type       WLE04 bad_name
--   WLE05 out_of_range      WLE06 conflict: two members contradict each other
--   WLE07 not_supported     42501 forbidden: another tenant's
--   WLC01 the id or idempotency key was used with another body
--   WLC02 the unique key is held, and `on_duplicate` is `reject`

-- Roles that act for one tenant, or for all of them where `tenant` is NULL. It holds whatever a session sets.
CREATE TABLE windlass.principals (
  role   name PRIMARY KEY,
  tenant text COLLATE "C" CHECK (tenant ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$')
);

-- Whom this session acts for: the tenant of its role in `principals`; else the setting `windlass.tenant`; else the claim
-- `tenant` of the token that PostgREST checked, at its top or in `app_metadata`, where only a server can write. '*' is every
-- tenant, '' none at all (a token that names none), NULL when nothing was said.
CREATE FUNCTION windlass.tenant() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  v_role text := current_setting('role');
  v_set text;
  v_claims text;
  p windlass.principals;
BEGIN
  SELECT * INTO p FROM windlass.principals WHERE role IN (session_user, v_role) ORDER BY role = session_user DESC LIMIT 1;
  IF FOUND THEN
    RETURN coalesce(p.tenant, '*');
  END IF;
  v_set := current_setting('windlass.tenant', true);
  IF v_set <> '' THEN
    RETURN v_set;
  END IF;
  v_claims := current_setting('request.jwt.claims', true);
  IF v_claims <> '' THEN
    RETURN coalesce(v_claims::json ->> 'tenant', v_claims::json -> 'app_metadata' ->> 'tenant', '');
  END IF;
  RETURN NULL;
END $$;

-- Enqueues one job and answers its id. `options` holds the other members of the envelope.
CREATE FUNCTION windlass.enqueue(kind text, payload jsonb, options jsonb DEFAULT '{}') RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN windlass_v1.enqueue_envelope(kind, payload, options);
END $$;

-- Enqueues a JSON array of envelopes, all or none, and answers their ids in the same order.
CREATE FUNCTION windlass.enqueue_many(jobs jsonb) RETURNS SETOF uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN QUERY SELECT unnest(windlass_v1.enqueue_envelopes(jobs));
END $$;
