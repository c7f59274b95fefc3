REVOKE SELECT (tenant, seq, hash) ON audit_heads FROM quarterdeck_dispatch;
DROP POLICY of_all ON audit_heads;
