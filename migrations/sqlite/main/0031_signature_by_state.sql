-- What waits for somebody: signatures of a state, on most nodes first. The overview counts and lists them each time.
CREATE INDEX signature_by_state ON signature (class, state, nodes, id) WHERE merged_into_id IS NULL;
