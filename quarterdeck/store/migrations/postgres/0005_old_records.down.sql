REVOKE SELECT (tenant, kind, status, updated_at) ON records FROM quarterdeck_dispatch;
DROP POLICY of_all ON records;
