-- Who may call what.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {v} FROM PUBLIC;
GRANT USAGE ON SCHEMA {v} TO windlass_daemon;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {v} TO windlass_daemon;
REVOKE ALL ON FUNCTION windlass.enqueue(text, jsonb, jsonb), windlass.enqueue_many(jsonb), windlass.enqueue_many(text, json[], jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION windlass.enqueue(text, jsonb, jsonb), windlass.enqueue_many(jsonb), windlass.enqueue_many(text, json[], jsonb) TO windlass_producer, windlass_daemon;

SELECT {v}.open_doors();
