-- Checkpoints of every tenant's audit log are made across tenants; what was done is read as its tenant.
CREATE POLICY of_all ON audit_heads FOR SELECT TO quarterdeck_dispatch USING (true);
GRANT SELECT (tenant, seq, hash) ON audit_heads TO quarterdeck_dispatch;
