-- Where there is something to clear away; never whose it is or what it says.
CREATE POLICY of_all ON records FOR SELECT TO quarterdeck_dispatch USING (true);
GRANT SELECT (tenant, kind, status, updated_at) ON records TO quarterdeck_dispatch;
