-- Windlass on Postgres, step 2: whom a session acts for.

-- Roles that act for one tenant, or for all of them where `tenant` is NULL. It holds whatever a session sets.
CREATE TABLE windlass.principals (
  role   name PRIMARY KEY,
  tenant text COLLATE "C" CHECK (tenant ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$')
);

CREATE FUNCTION windlass.note_principals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE windlass.installation SET bound = EXISTS (SELECT FROM windlass.principals);
  RETURN NULL;
END $$;
CREATE TRIGGER note_principals AFTER INSERT OR DELETE OR TRUNCATE ON windlass.principals EXECUTE FUNCTION windlass.note_principals();

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
